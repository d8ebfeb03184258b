import { manualSeed, mseLoss, nn, optim, randn, tidy } from 'einlinear';

manualSeed(1);
// 'btt' or any other structure: 'dense', 'btt-moe:experts=4,k=2', '(0.5|0|0.5|0|0.5|0.5|0.25)', ...
const layer = (dIn, dOut) => nn.createLinear('btt', dIn, dOut);
const model = new nn.Sequential(layer(64, 256), new nn.GELU(), layer(256, 64));
const optimizer = new optim.AdamW(model, { lr: 1e-2 });
for (let step = 0; step <= 200; step++) {
  tidy(() => {
    const x = randn([128, 64]);
    const loss = mseLoss(model.forward(x), x.relu());
    loss.backward();
    optimizer.step();
    optimizer.zeroGrad();
    if (step % 50 === 0) console.log(`step ${step}: loss ${loss.item().toFixed(4)}`);
  });
}
