# A shim: node-gyp and prebuildify come here, CMakeLists.txt builds. It stays out of the published
# package, where npm would take it for a reason to compile on the user's machine.
{
  'targets': [
    {
      'target_name': 'einlinear',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(PRODUCT_DIR)/einlinear.node'],
          'action': ['node', 'scripts/build-native.mjs'],
        },
      ],
    },
  ],
}
