import { EinlinearError } from '../errors';
import { Binary } from '../native';
import type { Compute } from './device';
import type { Storage } from './storage';
import type { Workspace } from './workspace';
import { withWorkspace } from './workspace';

/** One output of a node, as the consumer of that output sees it. */
export interface Edge {
  readonly node: GradNode;
  readonly output: number;
}

/**
 * The backward of one op: from the gradients of its outputs (null where nothing depended on one) to
 * those of its inputs, handed to `sink`. The storages it reads are those the node saved.
 */
export type BackwardRule = (dy: readonly (Storage | null)[], sink: GradientSink) => void;

let nodesMade = 0;

/**
 * What the tape remembers of one op. A node is held by the tensors it made and by the nodes that
 * consume them; once nobody holds it, or backward has passed, it lets go of what it saved.
 */
export class GradNode {
  /** Increases in order of creation, which is a topological order. */
  readonly id = ++nodesMade;
  readonly name: string;
  /** Where the gradient of each input goes; null for an input that needs none. */
  inputs: readonly (Edge | null)[];
  /** Gradients gathered for each output during backward. */
  readonly gradients: (Storage | null)[];
  private saved: readonly Storage[];
  private rule: BackwardRule | null;
  private readonly compute: Compute;
  private holders = 0;
  private consumed = false;

  /** Retains the nodes of `inputs` and the storages of `saved`; the rule computes as `compute` says. */
  constructor(
    name: string,
    outputs: number,
    inputs: readonly (Edge | null)[],
    saved: readonly Storage[],
    rule: BackwardRule | null,
    compute: Compute = 'float32',
  ) {
    this.name = name;
    this.compute = compute;
    this.inputs = inputs;
    this.saved = saved;
    this.rule = rule;
    this.gradients = new Array<Storage | null>(outputs).fill(null);
    for (const edge of inputs) edge?.node.hold();
    for (const storage of saved) storage.retain();
  }

  /** Whether backward has passed here, so that what it needs is gone. */
  get isConsumed(): boolean {
    return this.consumed;
  }

  hold(): void {
    this.holders += 1;
  }

  drop(): void {
    // A stack in place of recursion: graphs may be deeper than the call stack.
    const stack: GradNode[] = [this];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      node.holders -= 1;
      if (node.holders === 0) stack.push(...node.letGo());
    }
  }

  /** Runs the rule on the gathered gradients, then frees the node. */
  consume(device: Workspace['device']): void {
    if (this.rule !== null && this.gradients.some((gradient) => gradient !== null)) {
      const rule = this.rule;
      const before = device.compute;
      device.compute = this.compute;
      try {
        withWorkspace(device, (workspace) => {
          rule(this.gradients, new GradientSink(workspace, this.inputs));
        });
      } finally {
        device.compute = before;
      }
    }
    this.clearGradients();
    this.consumed = true;
    for (const node of this.letGo()) node.drop();
  }

  clearGradients(): void {
    for (const [i, gradient] of this.gradients.entries()) {
      gradient?.release();
      this.gradients[i] = null;
    }
  }

  /**
   * Adds a gradient of output `output`, of which the caller gives its reference away. The sum is
   * written into memory that nobody else sees.
   */
  receive(output: number, gradient: Storage): void {
    const before = this.gradients[output] ?? null;
    this.gradients[output] = before === null ? gradient : addInto(before, gradient);
  }

  /** The gradient gathered so far, if an op may add to it in place. */
  exclusive(output: number): Storage | null {
    const gradient = this.gradients[output] ?? null;
    return gradient !== null && gradient.references === 1 ? gradient : null;
  }

  /** Releases saved storages; returns the nodes that this one no longer holds. */
  private letGo(): GradNode[] {
    for (const storage of this.saved) storage.release();
    this.saved = [];
    this.rule = null;
    const nodes: GradNode[] = [];
    for (const edge of this.inputs) if (edge !== null) nodes.push(edge.node);
    this.inputs = [];
    return nodes;
  }
}

/**
 * a + b, in the memory of whichever has no other owner. Takes over both references; when it throws,
 * `a` stays the caller's.
 */
export function addInto(a: Storage, b: Storage): Storage {
  const { ops } = a.device;
  let sum: Storage;
  try {
    if (a.references === 1) {
      ops.axpy(a.size, 1, b.buffer, a.buffer);
      sum = a;
    } else if (b.references === 1) {
      ops.axpy(a.size, 1, a.buffer, b.buffer);
      sum = b;
    } else {
      sum = withWorkspace(a.device, (workspace) => {
        const fresh = workspace.allocate(a.size);
        ops.binary(Binary.add, [a.size], [1], [1], a.buffer, b.buffer, fresh.buffer);
        return workspace.take(fresh);
      });
    }
  } catch (error) {
    b.release();
    throw error;
  }
  if (sum !== a) a.release();
  if (sum !== b) b.release();
  return sum;
}

/** Where a backward rule gets memory from and where it puts the gradients of the op's inputs. */
export class GradientSink {
  constructor(
    private readonly workspace: Workspace,
    private readonly inputs: readonly (Edge | null)[],
  ) {}

  /** Whether anybody wants the gradient of input `i`. */
  needs(i: number): boolean {
    return (this.inputs[i] ?? null) !== null;
  }

  /** Uninitialised memory; released after the rule unless it is added as a gradient. */
  allocate(size: number): Storage {
    return this.workspace.allocate(size);
  }

  /** Memory for the gradient of input `i`, or null when nobody wants it. */
  allocateFor(i: number, size: number): Storage | null {
    return this.needs(i) ? this.allocate(size) : null;
  }

  /** The gradient of input `i`; null and unwanted ones are ignored. */
  add(i: number, gradient: Storage | null): void {
    const edge = this.inputs[i] ?? null;
    if (edge === null || gradient === null) return;
    edge.node.receive(edge.output, this.workspace.take(gradient));
  }

  /** The sum gathered so far for input `i`, for an op that can add to it in place; else null. */
  partial(i: number): Storage | null {
    const edge = this.inputs[i] ?? null;
    return edge === null ? null : edge.node.exclusive(edge.output);
  }
}

/** Every node that `root` reaches, outputs first. */
function collect(root: GradNode): GradNode[] {
  const seen = new Set<GradNode>([root]);
  const stack = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.isConsumed) {
      throw new EinlinearError(
        'DISPOSED',
        `Expected a graph that backward has not passed yet, got one whose '${node.name}' was already used; compute the result again`,
        { op: node.name },
      );
    }
    for (const edge of node.inputs) {
      if (edge !== null && !seen.has(edge.node)) {
        seen.add(edge.node);
        stack.push(edge.node);
      }
    }
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

/**
 * Sends `gradient` (of which the reference is given away) from `root` to every leaf it depends on,
 * freeing each node as it is passed.
 */
export function runBackward(root: Edge, gradient: Storage): void {
  const { device } = gradient;
  let nodes: GradNode[];
  try {
    nodes = collect(root.node);
  } catch (error) {
    gradient.release();
    throw error;
  }
  // Freeing a node drops those below it, which still have to run.
  for (const node of nodes) node.hold();
  try {
    root.node.receive(root.output, gradient);
    for (const node of nodes) node.consume(device);
  } finally {
    for (const node of nodes) {
      node.clearGradients();
      node.drop();
    }
  }
}
