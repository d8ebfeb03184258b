declare module 'node-gyp-build' {
  interface Tuple {
    name: string;
    platform: string;
    architectures: string[];
  }
  interface Tags {
    file: string;
  }
  const nodeGypBuild: {
    readonly parseTuple: (name: string) => Tuple | undefined;
    readonly matchTuple: (platform: string, arch: string) => (tuple: Tuple | undefined) => boolean;
    readonly compareTuples: (a: Tuple, b: Tuple) => number;
    readonly parseTags: (file: string) => Tags | undefined;
    readonly matchTags: (runtime: string, abi: string) => (tags: Tags | undefined) => boolean;
    readonly compareTags: (runtime: string) => (a: Tags, b: Tags) => number;
  };
  export = nodeGypBuild;
}
