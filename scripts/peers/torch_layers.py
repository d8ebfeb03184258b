"""PyTorch as the peer of `einlinear bench layers`: the published scheme of each layer, in our own words.

What it compares: the same product on the same sizes, float32, random normal data, the same number of
threads, gradients of the input and of every factor. Dense is x @ W.T. A block tensor-train is two batched
products with a copy between them (bmm, permute, bmm). The general einsum is two torch.einsum calls.
BTT-MoE computes every expert and multiplies the rank axis by the sparse weights, as the published
code does. How it is kept fair: one process, warmed up, timed call by call in turn with ours. Gradients are
dropped before the clock starts, as ours are, so that no backward pays for adding to those before it.

Protocol: one JSON request a line on standard input, one JSON answer a line on standard output.
  {"prepare": {"layer", "sizes", "tokens", "k", "threads"}} -> {"ready": true, "version": ...}
  {"run": "forward" | "forward+backward"}                  -> {"ms": ...}
"""

import json
import sys
import time

import torch


def leaf(*shape):
    return torch.randn(*shape).requires_grad_()


class Case:
    def __init__(self, layer, sizes, tokens, k, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.x = leaf(tokens, sizes["dIn"])
        self.grad = torch.randn(tokens, sizes["dOut"])
        self.tokens, self.k, self.s = tokens, k, sizes
        if layer == "dense":
            self.weight = leaf(sizes["dOut"], sizes["dIn"])
            self.forward = self.dense
        elif sizes["beta"] == 1 and sizes["delta"] == 1:
            self.a = leaf(sizes["gamma"], sizes["alpha"], sizes["phi"] * sizes["rho"])
            self.b = leaf(sizes["phi"], sizes["gamma"] * sizes["rho"], sizes["epsilon"])
            self.forward = self.btt
            if k:
                self.gate = leaf(sizes["rho"], sizes["dIn"])
                self.forward = self.moe
        else:
            s = sizes
            self.a = leaf(s["phi"], s["delta"], s["rho"], s["gamma"], s["alpha"])
            self.b = leaf(s["phi"], s["epsilon"], s["rho"], s["gamma"], s["beta"])
            self.forward = self.einsum

    def dense(self):
        return self.x @ self.weight.T

    def btt(self, weights=None):
        s, tokens = self.s, self.tokens
        z = torch.bmm(self.x.view(tokens, s["gamma"], s["alpha"]).transpose(0, 1), self.a)
        z = z.view(s["gamma"], tokens, s["phi"], s["rho"])
        if weights is not None:
            z = z * weights[None, :, None, :]
        z = z.permute(2, 1, 0, 3).reshape(s["phi"], tokens, s["gamma"] * s["rho"])
        return torch.bmm(z, self.b).transpose(0, 1).reshape(tokens, -1)

    def moe(self):
        logits = self.x @ self.gate.T
        top, index = logits.topk(self.k, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, index, top.softmax(-1) + 1e-6)
        return self.btt(weights)

    def einsum(self):
        s = self.s
        x = self.x.view(self.tokens, s["gamma"], s["beta"], s["alpha"])
        z = torch.einsum("tgba,pdrga->tpdrgb", x, self.a)
        return torch.einsum("tpdrgb,pergb->tped", z, self.b).reshape(self.tokens, -1)

    def run(self, what):
        for value in vars(self).values():
            if isinstance(value, torch.Tensor):
                value.grad = None
        start = time.perf_counter()
        y = self.forward()
        if what == "forward+backward":
            y.backward(self.grad)
        return (time.perf_counter() - start) * 1e3


def main():
    case = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            case = Case(**request["prepare"])
            answer = {"ready": True, "version": torch.__version__}
        else:
            answer = {"ms": case.run(request["run"])}
        print(json.dumps(answer), flush=True)


main()
