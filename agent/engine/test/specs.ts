/** Small models, each with other parts; together they have all that the engine computes. */
import type {
  AttentionSpec,
  DeltaSpec,
  ExpertsSpec,
  FeedForwardSpec,
  LatentAttentionSpec,
  LayerSpec,
  ModelSpec,
  RopeSpec,
} from '../../model/architecture/model-spec.ts'

const rope = (span: number, theta: number, change: Partial<RopeSpec> = {}): RopeSpec => ({
  frequencies: Array.from({ length: span / 2 }, (_, i) => theta ** ((-2 * i) / span)),
  span,
  pairing: 'half',
  at: 'head',
  magnitude: 1,
  ...change,
})

const attention = (change: Partial<AttentionSpec> = {}): AttentionSpec => ({
  kind: 'attention',
  heads: 8,
  kvHeads: 4,
  headDim: 16,
  scale: 0.25,
  bias: { qkv: false, o: false },
  mask: { kind: 'full' },
  rope: rope(16, 10_000),
  ...change,
})

const latent = (change: Partial<LatentAttentionSpec> = {}): LatentAttentionSpec => ({
  kind: 'mla',
  heads: 8,
  queryRank: 32,
  kvRank: 64,
  nopeDim: 32,
  ropeDim: 16,
  valueDim: 32,
  scale: 0.2,
  rope: rope(16, 10_000, { pairing: 'interleaved' }),
  ...change,
})

const delta = (change: Partial<DeltaSpec> = {}): DeltaSpec => ({
  kind: 'delta',
  keyHeads: 4,
  valueHeads: 12,
  keyDim: 32,
  valueDim: 32,
  convolution: 4,
  gate: 'silu',
  valueOrder: 'grouped',
  ...change,
})

const dense = (change: Partial<FeedForwardSpec> = {}): FeedForwardSpec => ({
  activation: 'silu',
  gated: true,
  dense: { ffn: 160, bias: false },
  ...change,
})

const experts = (change: Partial<ExpertsSpec> = {}, other: Partial<FeedForwardSpec> = {}): FeedForwardSpec => ({
  activation: 'silu',
  gated: true,
  experts: {
    count: 8,
    used: 3,
    ffn: 160,
    score: 'softmax',
    routerBias: false,
    choiceBias: false,
    factor: 1,
    bias: false,
    ...change,
  },
  ...other,
})

const layer = (change: Partial<LayerSpec> = {}): LayerSpec => ({
  block: 'pre',
  mixer: attention(),
  feedForward: dense(),
  ...change,
})

const model = (kinds: readonly LayerSpec[], change: Partial<ModelSpec> = {}): ModelSpec => ({
  family: 'test',
  hidden: 64,
  vocab: 96,
  context: 512,
  norm: { kind: 'rms', epsilon: 1e-5 },
  embeddingScale: 1,
  logits: { scale: 1 },
  tied: false,
  kinds,
  layers: Array.from({ length: 3 }, (_, index) => index % kinds.length),
  ...change,
})

const window = (size: number): AttentionSpec['mask'] => ({ kind: 'window', window: size })

export const specs: Readonly<Record<string, ModelSpec>> = {
  'biases of q, k, v and o, tied': model([layer({ mixer: attention({ bias: { qkv: true, o: true } }) })], {
    tied: true,
  }),
  'norms of queries and keys': model([
    layer({ mixer: attention({ qkNorm: { over: 'head', kind: 'rms', weight: true, when: 'beforeRope' } }) }),
    layer({ mixer: attention({ qkNorm: { over: 'head', kind: 'rms', weight: false, when: 'afterRope' } }) }),
  ]),
  'norms over all queries and keys, with means, without weights, where values are keys': model([
    layer({
      block: 'post',
      mixer: attention({
        qkNorm: { over: 'projection', kind: 'rms', weight: true, when: 'beforeRope' },
        bias: { qkv: true, o: false },
      }),
    }),
    layer({ mixer: attention({ qkNorm: { over: 'head', kind: 'layer', weight: true, when: 'beforeRope' } }) }),
    layer({
      mixer: attention({
        keyIsValue: true,
        qkNorm: { over: 'projection', kind: 'layer', weight: false, when: 'afterRope' },
      }),
    }),
  ]),
  'windows and chunks beside full attention, one layer without rotation': model([
    layer({ mixer: attention({ mask: window(5) }) }),
    layer({ mixer: attention({ rope: undefined }) }),
    layer({ mixer: attention({ mask: { kind: 'chunk', chunk: 7 } }) }),
  ]),
  'sandwich, gelu of tanh, scaled embedding, caps': model(
    [
      layer({
        block: 'sandwich',
        mixer: attention({ softcap: 3, scale: 0.4, mask: window(9), rope: rope(16, 1e4) }),
        feedForward: dense({ activation: 'geluTanh' }),
      }),
      layer({
        block: 'sandwich',
        mixer: attention({ rope: rope(16, 1e6, { frequencies: rope(16, 1e6).frequencies.map((f) => f / 8) }) }),
        feedForward: dense({ activation: 'geluTanh' }),
      }),
    ],
    { embeddingScale: 8, logits: { scale: 1, softcap: 2 } },
  ),
  'norms behind halves alone, scaled branches': model([
    layer({ block: 'post', branchScale: 0.7, feedForward: dense({ activation: 'gelu' }) }),
  ]),
  'parallel halves, layer norms, interleaved pairs, scaled logits': model(
    [layer({ block: 'parallel', mixer: attention({ rope: rope(16, 1e4, { pairing: 'interleaved' }) }) })],
    { norm: { kind: 'layer', epsilon: 1e-5 }, logits: { scale: 0.3 } },
  ),
  'sinks, part of the head turned, magnitude, no gate, biases of the MLP': model([
    layer({
      mixer: attention({ sinks: true, rope: rope(8, 1e4, { magnitude: 1.2 }) }),
      feedForward: dense({ activation: 'relu2', gated: false, dense: { ffn: 160, bias: true } }),
    }),
  ]),
  'output gates, normed values, values that are keys, keys of an earlier layer, pairs that stand still': model([
    layer({
      mixer: attention({ outputGate: true, valueNorm: true, rope: rope(16, 1e4, { frequencies: [1, 0.1] }) }),
    }),
    layer({ mixer: attention({ keyIsValue: true, valueNorm: true }) }),
    layer({ mixer: attention({ kvFrom: 0 }) }),
  ]),
  'latent attention, with and without a latent of queries': model([
    layer({ mixer: latent() }),
    layer({ mixer: latent({ queryRank: undefined }), feedForward: experts() }),
  ]),
  'gated delta nets, value heads of a key head together': model([layer({ mixer: delta() }), layer()]),
  'gated delta nets, value heads in tiles, another gate, experts': model([
    layer({ mixer: delta({ valueOrder: 'tiled', gate: 'sigmoid' }), feedForward: experts() }),
    layer(),
    layer({ mixer: delta({ valueOrder: 'tiled', valueHeads: 4, convolution: 3 }) }),
  ]),
  'experts, renormalised softmax': model([layer({ feedForward: experts({ renormalise: { epsilon: 0 } }) })]),
  'experts in groups, sigmoid with a bias for the choice, a shared one': model([
    layer({
      feedForward: experts({
        score: 'sigmoid',
        choiceBias: true,
        groups: { count: 4, kept: 2 },
        renormalise: { epsilon: 1e-20 },
        factor: 2.5,
        shared: { ffn: 160, gated: false },
      }),
    }),
  ]),
  'experts with biases and a clamped GLU, softmax over the chosen, sinks': model([
    layer({
      mixer: attention({ sinks: true, bias: { qkv: true, o: true }, mask: window(6) }),
      feedForward: experts(
        { score: 'chosenSoftmax', routerBias: true, bias: true },
        { activation: { kind: 'clampedGlu', alpha: 1.702, limit: 1.5 } },
      ),
    }),
  ]),
  'attention of two geometries, MLPs, experts and a shared expert of different widths': model([
    layer({ feedForward: dense({ dense: { ffn: 96, bias: false } }) }),
    layer({
      mixer: attention({ heads: 4, kvHeads: 2, headDim: 32, rope: rope(32, 1e4), mask: window(8) }),
      feedForward: experts({ ffn: 64, shared: { ffn: 128, gated: false } }),
    }),
  ]),
  'factors of queries by position, the end of the head turned, beside experts an MLP': model([
    layer({
      mixer: attention({
        temperature: { floor: 8, coefficient: 0.7, offset: 1 },
        rope: rope(8, 1e4, { at: 'tail', pairing: 'interleaved' }),
      }),
      feedForward: experts({ shared: { ffn: 160, gated: false } }, { dense: { ffn: 96, bias: true } }),
    }),
    layer({
      mixer: attention({ rope: undefined, temperature: { floor: 5, coefficient: 0.4, offset: 0 } }),
      feedForward: experts({ weightOnInput: true, bias: true, routerBias: true, score: 'sigmoid' }),
    }),
    layer({ feedForward: experts({ weightOnInput: true, used: 1, shared: { ffn: 160, gated: false } }) }),
  ]),
  'one expert of scaled ones, a gated shared one, parallel halves': model([
    layer({
      block: 'parallel',
      feedForward: experts({ used: 1, perExpertScale: true, shared: { ffn: 160, gated: true } }),
    }),
    layer({ feedForward: experts({ perExpertScale: true }, { gated: false, activation: 'relu2' }) }),
  ]),
}
