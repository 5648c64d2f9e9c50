/**
 * What a model computes, in parts that all families are written in. A family is a row of the table that fills this in
 * from `config.json` or from the metadata of a GGUF file; the engine knows parts and no families.
 *
 * Plain data: it travels to the compute process as JSON. Sizes count elements unless said otherwise. A part that is
 * absent is not computed.
 */

/**
 * Rotary position embedding of one layer kind, with every kind of scaling (linear, llama3, yarn, longrope, NTK, ...)
 * already applied: the engine sees frequencies alone.
 */
export interface RopeSpec {
  /** Radians that pair i turns per position; as many as pairs turn. Pairs behind them stand still. */
  readonly frequencies: readonly number[]
  /**
   * Frequencies in place of those for every position of a sequence that may grow longer than `beyond` (longrope). It is
   * decided once for each sequence, by the most positions that it may reach: keys that were turned stay as they are.
   */
  readonly long?: { readonly beyond: number; readonly frequencies: readonly number[] }
  /** Elements of the head that the pairs are made of: pair i is (i, i + span / 2), or (2 i, 2 i + 1). */
  readonly span: number
  readonly pairing: 'half' | 'interleaved'
  /** Where the span lies in the head. */
  readonly at: 'head' | 'tail'
  /** Factor of cosine and sine. */
  readonly magnitude: number
}

/** Which keys a query at position p sees: all up to p; the last `window` of them; those of its own chunk. */
export type MaskSpec =
  | { readonly kind: 'full' }
  | { readonly kind: 'window'; readonly window: number }
  | { readonly kind: 'chunk'; readonly chunk: number }

/** Norm of queries and keys: over each head, or over all heads of the projection at once. */
export interface QkNormSpec {
  readonly over: 'head' | 'projection'
  readonly kind: 'rms' | 'layer'
  /** False: no weight (Llama 4). */
  readonly weight: boolean
  readonly when: 'beforeRope' | 'afterRope'
}

/** Softmax attention with `heads / kvHeads` query heads for each key/value head. */
export interface AttentionSpec {
  readonly kind: 'attention'
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Factor of scores before the softmax. */
  readonly scale: number
  readonly bias: { readonly qkv: boolean; readonly o: boolean }
  readonly qkNorm?: QkNormSpec
  /** RMSNorm without weight over each head of v. */
  readonly valueNorm?: true
  /** There is no v projection: v is k before its norm and rope. */
  readonly keyIsValue?: true
  /** Keys and values are those of this earlier layer. */
  readonly kvFrom?: number
  /** Output of each head times the sigmoid of a projection of the input (rows as those of q). */
  readonly outputGate?: true
  /** One learned logit per head that takes part in the softmax and carries no value. */
  readonly sinks?: true
  /** Scores become c * tanh(score / c). */
  readonly softcap?: number
  readonly mask: MaskSpec
  /** Absent: positions are not told apart (NoPE). */
  readonly rope?: RopeSpec
  /** Queries times 1 + coefficient * ln(1 + floor((position + offset) / floor)). */
  readonly temperature?: { readonly floor: number; readonly coefficient: number; readonly offset: number }
}

/** Multi-head latent attention (DeepSeek V2 and later). */
export interface LatentAttentionSpec {
  readonly kind: 'mla'
  readonly heads: number
  /** Absent: queries come from the input directly. */
  readonly queryRank?: number
  readonly kvRank: number
  /** Elements of a head without and with rope. */
  readonly nopeDim: number
  readonly ropeDim: number
  readonly valueDim: number
  readonly scale: number
  readonly rope: RopeSpec
}

/** Gated delta rule (Qwen3-Next, Qwen3.5): a state of fixed size per sequence instead of a cache. */
export interface DeltaSpec {
  readonly kind: 'delta'
  readonly keyHeads: number
  readonly valueHeads: number
  readonly keyDim: number
  readonly valueDim: number
  /** Taps of the causal convolution over q, k and v. */
  readonly convolution: number
  readonly gate: 'silu' | 'sigmoid'
  /**
   * Which key head a value head h uses, with r = valueHeads / keyHeads: floor(h / r), or h mod keyHeads. Tensors lie as
   * this says: files differ, and columns of a quantised matrix cannot be moved.
   */
  readonly valueOrder: 'grouped' | 'tiled'
}

export type MixerSpec = AttentionSpec | LatentAttentionSpec | DeltaSpec

export type Activation = 'silu' | 'geluTanh' | 'gelu' | 'relu2' | ClampedGlu
/** gpt-oss: gate = min(gate, limit), up = clamp(up, -limit, limit), gate * sigmoid(alpha * gate) * (up + 1). */
export interface ClampedGlu {
  readonly kind: 'clampedGlu'
  readonly alpha: number
  readonly limit: number
}

export interface ExpertsSpec {
  readonly count: number
  /** Chosen for each token. */
  readonly used: number
  /** Columns of one expert. */
  readonly ffn: number
  /**
   * Score of expert e from the router's logit: softmax over all, sigmoid, or the logit itself (`chosenSoftmax`: the
   * weights are the softmax over the chosen logits; equals softmax over all with `renormalise`).
   */
  readonly score: 'softmax' | 'sigmoid' | 'chosenSoftmax'
  readonly routerBias: boolean
  /** A bias per expert that counts for the choice and not for the weight. */
  readonly choiceBias: boolean
  /** Only experts of the `kept` best of `count` groups may be chosen; a group is worth its two best experts. */
  readonly groups?: { readonly count: number; readonly kept: number }
  /** Weights are divided by their sum plus `epsilon`. */
  readonly renormalise?: { readonly epsilon: number }
  /** Factor of all weights. */
  readonly factor: number
  readonly perExpertScale?: true
  /** The weight multiplies the expert's input instead of its output (Llama 4). */
  readonly weightOnInput?: true
  readonly bias: boolean
  /** An expert that every token uses. `gated`: times the sigmoid of a scalar projection of the input. */
  readonly shared?: { readonly ffn: number; readonly gated: boolean }
}

export interface FeedForwardSpec {
  readonly activation: Activation
  /** False: down(activation(up x)), without a gate. */
  readonly gated: boolean
  readonly dense?: { readonly ffn: number; readonly bias: boolean }
  readonly experts?: ExpertsSpec
}

/**
 * How a layer puts its halves together, n being the norm before a half and p the norm behind it:
 * `pre` x += f(n x); `sandwich` x += p(f(n x)); `post` x += p(f(x)); `parallel` x += attention(n x) + ffn(n x).
 */
export type BlockShape = 'pre' | 'sandwich' | 'post' | 'parallel'

export interface LayerSpec {
  readonly block: BlockShape
  readonly mixer: MixerSpec
  readonly feedForward: FeedForwardSpec
  /** Factor of what each half adds. Default: 1. */
  readonly branchScale?: number
}

export interface ModelSpec {
  /** Name of the row of the table, for people. */
  readonly family: string
  readonly hidden: number
  /** Rows of the embedding; the tokenizer may have fewer tokens. */
  readonly vocab: number
  /** Positions that the model was made for. */
  readonly context: number
  /** Norms compute in f32; weights are used as they are (those stored as w of 1 + w are shifted when they are read). */
  readonly norm: { readonly kind: 'rms' | 'layer'; readonly epsilon: number }
  /** Factor of embedding rows. */
  readonly embeddingScale: number
  readonly logits: { readonly scale: number; readonly softcap?: number }
  /** The head uses the embedding matrix. */
  readonly tied: boolean
  /** The different kinds of layers. */
  readonly kinds: readonly LayerSpec[]
  /** Kind of each layer, as an index into `kinds`. */
  readonly layers: readonly number[]
}

export const layerSpec = (spec: ModelSpec, layer: number): LayerSpec => spec.kinds[spec.layers[layer]]
