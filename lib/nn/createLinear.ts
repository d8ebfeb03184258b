import { parseStructure, validateStructure, type Structure } from '../structure';
import { BTTMoELinear } from './bttMoELinear';
import { EinsumLinear } from './einsumLinear';
import { Linear, type LinearOptions } from './linear';
import type { LinearLayer } from './module';
import { MoELinear } from './moeLinear';
import {
  BTTLinear,
  KroneckerLinear,
  LowRankLinear,
  MonarchLinear,
  TensorTrainLinear,
} from './namedLinear';
import { allOrNothing } from './parameter';

export interface CreateLinearOptions extends LinearOptions {
  /** Set to false to leave out learned gains where what follows cancels them; default: as the structure says. */
  gains?: boolean;
}

/**
 * The one way from a structure to a linear layer: the string changes what stands between dIn and dOut, everything else
 * stays. Structure 'moe' (a mixture over whole feed-forward blocks) leaves single layers dense.
 *
 * @param structure name or θ as `parseStructure` reads it, or what it returns
 * @throws EinlinearError INVALID_ARGUMENT, INVALID_THETA, NOT_FACTORABLE, OUT_OF_RANGE (k beyond the experts)
 */
export function createLinear(
  structure: Structure | string,
  dIn: number,
  dOut: number,
  options: CreateLinearOptions = {},
): LinearLayer {
  const { gains: gainsAllowed = true, ...shared } = options;
  const s =
    typeof structure === 'string' ? parseStructure(structure) : validateStructure(structure);
  return allOrNothing(() => build(s, dIn, dOut, shared, gainsAllowed));
}

function build(
  s: Structure,
  dIn: number,
  dOut: number,
  shared: LinearOptions,
  gainsAllowed: boolean,
): LinearLayer {
  switch (s.kind) {
    case 'dense':
    case 'moe':
      return new Linear(dIn, dOut, shared);
    case 'einsum':
      return new EinsumLinear(s.theta, dIn, dOut, { ...s, ...shared });
    case 'btt':
      return new BTTLinear(dIn, dOut, { ...s, ...shared, gains: s.gains && gainsAllowed });
    case 'monarch':
      return new MonarchLinear(dIn, dOut, { ...s, ...shared });
    case 'low-rank':
      return new LowRankLinear(dIn, dOut, { ...s, ...shared });
    case 'kronecker':
      return new KroneckerLinear(dIn, dOut, { ...s, ...shared });
    case 'tensor-train':
      return new TensorTrainLinear(dIn, dOut, { ...s, ...shared });
    case 'btt-moe':
      return new BTTMoELinear(dIn, dOut, { ...s, ...shared });
    case 'dense-moe':
      return new MoELinear(dIn, dOut, { ...s, ...shared, expert: 'dense' });
    case 'low-rank-moe':
      return new MoELinear(dIn, dOut, { ...s, ...shared, expert: 'low-rank' });
  }
}
