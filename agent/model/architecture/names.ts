/** Names of tensors that most families share, in safetensors and in GGUF; rows of the table change single ones. */
import type { Names, Naming } from './naming.ts'

const layer = 'model.layers.{n}.'
const mlp = (at: string, to: string): Names => ({
  [`${to}.gate`]: `${at}.gate_proj.weight`,
  [`${to}.up`]: `${at}.up_proj.weight`,
  [`${to}.down`]: `${at}.down_proj.weight`,
  [`${to}.gate.bias`]: `${at}.gate_proj.bias`,
  [`${to}.up.bias`]: `${at}.up_proj.bias`,
  [`${to}.down.bias`]: `${at}.down_proj.bias`,
})

export const huggingFaceNames: Names = {
  embedding: 'model.embed_tokens.weight',
  head: 'lm_head.weight',
  'head.norm': 'model.norm.weight',
  'attention.norm': `${layer}input_layernorm.weight`,
  'mlp.norm': `${layer}post_attention_layernorm.weight`,
  ...Object.fromEntries(
    ['q', 'k', 'v', 'o'].flatMap((part) => [
      [`attention.${part}`, `${layer}self_attn.${part}_proj.weight`],
      [`attention.${part}.bias`, `${layer}self_attn.${part}_proj.bias`],
    ]),
  ),
  'attention.qNorm': `${layer}self_attn.q_norm.weight`,
  'attention.kNorm': `${layer}self_attn.k_norm.weight`,
  'attention.sinks': `${layer}self_attn.sinks`,
  ...mlp(`${layer}mlp`, 'mlp'),
  'mlp.router': `${layer}mlp.gate.weight`,
  ...mlp(`${layer}mlp.experts.{e}`, 'mlp.experts'),
  ...mlp(`${layer}mlp.shared_expert`, 'mlp.shared'),
  'mlp.shared.scale': `${layer}mlp.shared_expert_gate.weight`,
}

/** Two norms around each half (Gemma 2 and 3). */
export const sandwichNames: Names = {
  'attention.postNorm': `${layer}post_attention_layernorm.weight`,
  'mlp.norm': `${layer}pre_feedforward_layernorm.weight`,
  'mlp.postNorm': `${layer}post_feedforward_layernorm.weight`,
}

const norms = ['attention.norm', 'attention.postNorm', 'mlp.norm', 'mlp.postNorm', 'attention.qNorm', 'attention.kNorm']

/** The same names of norms, whose weights are stored as w of 1 + w. */
export const plusOne = (names: Names): Names =>
  Object.fromEntries(
    ['head.norm', ...norms]
      .filter((part) => Object.hasOwn(names, part))
      .map((part) => [part, { name: names[part] as string, apply: 'plusOne' }]),
  )

/** Parts whose rows lie one after another in one tensor, in each group. */
export const together = (name: string, parts: readonly string[], per?: Naming['per']): Names =>
  Object.fromEntries(parts.map((part) => [part, { name, together: parts, ...(per && { per }) }]))

const blk = 'blk.{n}.'
const qkv = ['attention.q', 'attention.k', 'attention.v']
const gateUp = ['mlp.experts.gate', 'mlp.experts.up']
/** Any architecture may have its projections in one tensor. */
const fused = (part: string, ending: string) => [
  `${blk}attn_${part}.${ending}`,
  {
    name: `${blk}attn_qkv.${ending}`,
    together: ending === 'weight' ? qkv : qkv.map((one) => `${one}.bias`),
  },
]

export const ggufNames: Names = {
  embedding: 'token_embd.weight',
  head: 'output.weight',
  'head.norm': 'output_norm.weight',
  'attention.norm': `${blk}attn_norm.weight`,
  'attention.postNorm': `${blk}post_attention_norm.weight`,
  'mlp.norm': `${blk}ffn_norm.weight`,
  'mlp.postNorm': `${blk}post_ffw_norm.weight`,
  ...Object.fromEntries(
    ['q', 'k', 'v'].flatMap((part) => [
      [`attention.${part}`, fused(part, 'weight')],
      [`attention.${part}.bias`, fused(part, 'bias')],
    ]),
  ),
  'attention.o': `${blk}attn_output.weight`,
  'attention.o.bias': `${blk}attn_output.bias`,
  'attention.qNorm': `${blk}attn_q_norm.weight`,
  'attention.kNorm': `${blk}attn_k_norm.weight`,
  'attention.sinks': `${blk}attn_sinks.weight`,
  ...Object.fromEntries(
    ['gate', 'up', 'down'].flatMap((part) => [
      [`mlp.${part}`, `${blk}ffn_${part}.weight`],
      [`mlp.${part}.bias`, `${blk}ffn_${part}.bias`],
      [
        `mlp.experts.${part}`,
        part === 'down'
          ? `${blk}ffn_down_exps.weight`
          : [
              `${blk}ffn_${part}_exps.weight`,
              { name: `${blk}ffn_gate_up_exps.weight`, together: gateUp, per: 'expert' },
            ],
      ],
      [`mlp.experts.${part}.bias`, `${blk}ffn_${part}_exps.bias`],
      [`mlp.shared.${part}`, `${blk}ffn_${part}_shexp.weight`],
    ]),
  ),
  'mlp.router': `${blk}ffn_gate_inp.weight`,
  'mlp.router.bias': `${blk}ffn_gate_inp.bias`,
  'mlp.router.choiceBias': `${blk}exp_probs_b.bias`,
  'mlp.shared.scale': `${blk}ffn_gate_inp_shexp.weight`,
}

/** q and k of GGUF files whose rows are permuted (architectures with llama.cpp's "NORM" rope). */
export const permuted: Names = Object.fromEntries(
  ['q', 'k'].flatMap((part) =>
    ['weight', 'bias'].map((ending) => [
      ending === 'weight' ? `attention.${part}` : `attention.${part}.bias`,
      fused(part, ending).map((one) =>
        typeof one === 'string' ? { name: one, permuted: true } : { ...one, permuted: true },
      ),
    ]),
  ),
)
