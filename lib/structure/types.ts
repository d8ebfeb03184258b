/** Exponents of the seven index sizes of a two-factor einsum layer, in the order the paper writes them. */
export interface Theta {
  /** Input index shared by x and A. */
  readonly alpha: number;
  /** Input index shared by x and B. */
  readonly beta: number;
  /** Input index shared by x, A and B. */
  readonly gamma: number;
  /** Output index shared by y and A. */
  readonly delta: number;
  /** Output index shared by y and B. */
  readonly epsilon: number;
  /** Output index shared by y, A and B. */
  readonly phi: number;
  /** Rank index shared by A and B. */
  readonly rho: number;
}

/** One of the seven indices, by name. */
export type IndexName = keyof Theta;

/** The order in which θ and the sizes are written everywhere. */
export const INDEX_NAMES: readonly IndexName[] = [
  'alpha',
  'beta',
  'gamma',
  'delta',
  'epsilon',
  'phi',
  'rho',
];

/**
 * Integer sizes of a two-factor layer. With X[γ,β,α] and Y[φ,ε,δ] (last index fastest) it computes
 * Y[φ,ε,δ] = Σ_{γ,β,α,ρ} A[φ,δ,ρ,γ,α] · B[φ,ε,ρ,γ,β] · X[γ,β,α].
 * γβα may differ from dIn and φεδ from dOut: the layer then pads or truncates at the end.
 */
export interface EinsumSizes {
  /** Features the layer takes. */
  readonly dIn: number;
  /** Features the layer gives. */
  readonly dOut: number;
  readonly alpha: number;
  readonly beta: number;
  readonly gamma: number;
  readonly delta: number;
  readonly epsilon: number;
  readonly phi: number;
  readonly rho: number;
}

/**
 * How sizes come from exponents or from a width: 'divisors' is the nearest exact factorisation;
 * 'paper' is what the published code does (each d^θ rounded; prime factors spread over two numbers).
 */
export type Rounding = 'divisors' | 'paper';

export const ROUNDINGS: readonly Rounding[] = ['divisors', 'paper'];

/** Inputs and outputs of a matrix as its initialisation sees them. */
export interface Fans {
  readonly fanIn: number;
  readonly fanOut: number;
}

/** How one weight is initialised, and how its learning rate scales. */
export interface FactorPlan extends Fans {
  /** Standard deviation of the initial weights, and the rms that weight normalisation holds. */
  readonly initStd: number;
  /** Adam's learning-rate multiplier from the structure alone, without the dense μP ratio. */
  readonly adamMultiplier: number;
  /** SGD's learning-rate multiplier from the structure alone, without the dense μP ratio. */
  readonly sgdMultiplier: number;
}

/** A plain matrix `[dOut, dIn]`. */
export interface DensePlan {
  readonly kind: 'dense';
  readonly dIn: number;
  readonly dOut: number;
  readonly weight: FactorPlan;
  /** Multiply-accumulates of the forward pass for one token. */
  readonly macsPerToken: number;
  /** Learned numbers, without bias. */
  readonly parameters: number;
}

/** A two-factor einsum layer. */
export interface EinsumPlan {
  readonly kind: 'einsum';
  readonly sizes: EinsumSizes;
  /** Factor A[φ,δ,ρ,γ,α]. */
  readonly a: FactorPlan;
  /** Factor B[φ,ε,ρ,γ,β]. */
  readonly b: FactorPlan;
  /** ε₀ in the rms of weight normalisation: 1e-8 for a BTT (β = δ = 1), else 1e-6. */
  readonly normEps: number;
  /** Multiply-accumulates of the forward pass for one token, in the cheaper order. */
  readonly macsPerToken: number;
  /** Learned numbers of the two factors, without bias and gains. */
  readonly parameters: number;
  /** The exponents the sizes came from, where they did. */
  readonly theta?: Theta;
}

/** A BTT whose rank slices are experts, k of them active for a token. */
export interface BTTMoEPlan {
  readonly kind: 'btt-moe';
  readonly experts: number;
  readonly k: number;
  /** The BTT of rank `experts`; its fans are those of a single slice. */
  readonly einsum: EinsumPlan;
  /** The gate `[experts, dIn]`. */
  readonly gate: FactorPlan;
  /** Active share k/experts of the full-rank BTT plus the gate. */
  readonly macsPerToken: number;
  /** Learned numbers of factors and gate, without bias and gains. */
  readonly parameters: number;
}

/** A mixture of separate dense or low-rank matrices, k of them active for a token. */
export interface MatrixMoEPlan {
  readonly kind: 'dense-moe' | 'low-rank-moe';
  readonly experts: number;
  readonly k: number;
  /** One expert. */
  readonly expert: DensePlan | EinsumPlan;
  /** The gate `[experts, dIn]`. */
  readonly gate: FactorPlan;
  /** k experts plus the gate. */
  readonly macsPerToken: number;
  /** Learned numbers of all experts and the gate, without biases. */
  readonly parameters: number;
}

/** What a structure becomes at given widths. */
export type LayerPlan = DensePlan | EinsumPlan | BTTMoEPlan | MatrixMoEPlan;

/** The exponents of a θ at equal widths d, and what they say about the point. */
export interface Taxonomy {
  /** MACs/parameters = Θ(d^ω): how often a parameter is used. */
  readonly omega: number;
  /** Rank of the operator = Θ(d^ψ). */
  readonly psi: number;
  /** MACs = Θ(d^(1+ν)). */
  readonly nu: number;
  /** Whether the mirror image is the canonical form of the same operators. */
  readonly redundant: boolean;
  /** Whether the rank is larger than is of any use. */
  readonly degenerate: boolean;
  /** θ itself, or its mirror image where θ is redundant. */
  readonly canonical: Theta;
}

/** Exact counts of a two-factor layer for generic factors. */
export interface FiniteTaxonomy {
  /** MACs per token in the cheaper order. */
  readonly macs: number;
  /** MACs per token when A is contracted first, and when B is. */
  readonly macsByOrder: { readonly aFirst: number; readonly bFirst: number };
  /** Learned numbers of the two factors. */
  readonly parameters: number;
  /** Rank of the operator. */
  readonly rank: number;
}
