/**
 * Which keys of a model's JSON files may be passed over. A key that changes the text and is not computed here must
 * refuse the model; so there are lists of those known to be harmless, and every other key is refused by name.
 */
import { MeshError } from '../../shared/errors.ts'
import { isSameJson, shown } from './json.ts'

type Keys = Readonly<Record<string, unknown>>
/** Of a key that is harmless with some values only: those values, or a test that may look at the other keys. */
export type Harmless = readonly unknown[] | Test
interface Test {
  readonly says: string
  holds(value: unknown, keys: Keys): boolean
}

/** What may stand in one file. `null` is harmless everywhere: it means "not set". */
export interface KnownKeys {
  /** Read, and checked, elsewhere. */
  readonly read: ReadonlySet<string>
  readonly ignored: ReadonlySet<string>
  readonly harmless: Readonly<Record<string, Harmless>>
}

const words = (text: string): string[] => text.trim().split(/\s+/)

/** How text is drawn is for whoever asks to say; what a file recommends is not applied. */
const drawing = words(`
  do_sample temperature top_k top_p top_h min_p typical_p epsilon_cutoff eta_cutoff repetition_penalty max_new_tokens
  max_length min_length min_new_tokens max_time length_penalty diversity_penalty num_beams num_beam_groups
  num_return_sequences early_stopping renormalize_logits low_memory penalty_alpha use_cache cache_implementation
  cache_config return_legacy_cache output_attentions output_hidden_states output_scores output_logits
  return_dict_in_generate num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold
  assistant_early_exit assistant_lookbehind target_lookbehind prompt_lookup_num_tokens max_matching_ngram_size
  is_assistant compile_config disable_compile continuous_batching_config prefill_chunk_size
  decoder_start_token_id encoder_repetition_penalty
`)

/** They change what is drawn in ways that nobody can ask for here. */
const constraints: Readonly<Record<string, Harmless>> = {
  no_repeat_ngram_size: [0],
  encoder_no_repeat_ngram_size: [0],
  guidance_scale: [1],
  dola_layers: [],
  bad_words_ids: [[]],
  suppress_tokens: [[]],
  begin_suppress_tokens: [[]],
  sequence_bias: [{}, []],
  stop_strings: [[]],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  force_words_ids: [[]],
  forced_decoder_ids: [[]],
  constraints: [[]],
  exponential_decay_length_penalty: [],
  watermarking_config: [],
  remove_invalid_values: [false],
  token_healing: [false],
  custom_generate: [],
}

/** About files, programs and training; or about other tasks than writing text. */
const aboutFiles = words(`
  _name_or_path name_or_path _commit_hash _from_model_config model_name transformers_version torch_dtype dtype
  auto_map attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset
  _flash_attn_2_enabled use_flash_attn use_flash_attention use_flash_attention_2 use_cache use_bfloat16 torchscript
  tf_legacy_loss return_dict tokenizer_class transformers.js_config is_llama_config license
  unsloth_fixed unsloth_version base_model initializer_range initializer_factor init_std gradient_checkpointing
  use_gradient_checkpointing attention_dropout hidden_dropout attn_dropout attn_pdrop resid_pdrop embd_pdrop
  resid_dropout embd_dropout dropout hidden_dropout_prob attention_probs_dropout_prob classifier_dropout summary_type
  pretraining_tp tensor_parallel_degree pipeline_parallel_degree seq_length max_sequence_length model_max_length
  router_aux_loss_coef output_router_logits aux_loss_alpha z_loss_coefficient
  pad_token_id sep_token_id unk_token_id mask_token_id cls_token_id
  finetuning_task id2label label2id num_labels problem_type task_specific_params
  chunk_size_feed_forward tie_encoder_decoder cross_attention_hidden_size is_decoder
`)

const sameAs = (key: string): Test => ({ says: `the value of ${key}`, holds: (value, keys) => value === keys[key] })

/** A window matters only where it is on and shorter than the context. */
const noWindow: Test = {
  says: 'null, or at least max_position_embeddings',
  holds: (value, keys) =>
    keys.use_sliding_window === false || (typeof value === 'number' && value >= Number(keys.max_position_embeddings)),
}

const onlyFullAttention: Test = {
  says: 'full_attention in every layer',
  holds: (value) => Array.isArray(value) && value.every((kind) => kind === 'full_attention'),
}

const plainWeights: Test = { says: 'weights that others did not quantise (F32, F16, BF16)', holds: () => false }

/** config.json of a Llama: settings of its relatives, harmless where they say "as Llama does it". */
const asLlama: Readonly<Record<string, Harmless>> = {
  quantization_config: plainWeights,
  quantization: plainWeights,
  compression_config: plainWeights,
  sparsity_config: plainWeights,
  adapters: [],
  prefix: [],
  model_type: ['llama'],
  hidden_act: ['silu'],
  hidden_activation: ['silu'],
  attention_bias: [false],
  mlp_bias: [false],
  qkv_bias: [false],
  use_qkv_bias: [false],
  use_bias: [false],
  bias: [false],
  no_bias: [true],
  lm_head_bias: [false],
  attention_out_bias: [false],
  add_bias_linear: [false],
  qk_norm: [false],
  use_qk_norm: [false],
  qk_layernorm: [false],
  position_embedding_type: ['rope', 'rotary'],
  use_rope: [true],
  use_alibi: [false],
  alibi: [false],
  rope_interleaved: [false],
  rotary_interleaved: [false],
  partial_rotary_factor: [1],
  rotary_pct: [1],
  rope_pct: [1],
  no_rope_layers: [[]],
  no_rope_layer_interval: [0],
  parallel_attn: [false],
  use_parallel_residual: [false],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  attention_multiplier: [],
  logits_scaling: [1],
  logit_scale: [1],
  scale_emb: [1],
  scale_depth: [],
  embed_scale: [1],
  normalize_embeddings: [false],
  clip_qkv: [],
  final_logit_softcapping: [],
  attn_logit_softcapping: [],
  residual_in_fp32: [false, true],
  use_sliding_window: [false],
  sliding_window: noWindow,
  attention_window_size: noWindow,
  max_window_layers: { says: 'anything, as there is no window', holds: () => true },
  sliding_window_pattern: [],
  layer_types: onlyFullAttention,
  attention_sinks: [false],
  attention_chunk_size: [],
  use_cla: [false],
  use_mla: [false],
  num_experts: [0],
  num_local_experts: [0],
  n_routed_experts: [0],
  num_experts_per_tok: [0],
  num_nextn_predict_layers: [0],
  is_causal: [true],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
  pruned_heads: [{}],
  layer_norm_eps: sameAs('rms_norm_eps'),
  layer_norm_epsilon: sameAs('rms_norm_eps'),
  norm_eps: sameAs('rms_norm_eps'),
  n_embd: sameAs('hidden_size'),
  n_layer: sameAs('num_hidden_layers'),
  n_layers: sameAs('num_hidden_layers'),
  n_head: sameAs('num_attention_heads'),
  ffn_dim: sameAs('intermediate_size'),
  n_ctx: sameAs('max_position_embeddings'),
  n_positions: sameAs('max_position_embeddings'),
}

/** @param read keys that the reader of config.json understands */
export const configKeys = (read: Iterable<string>): KnownKeys => ({
  read: new Set(read),
  ignored: new Set([...aboutFiles, ...drawing]),
  harmless: { ...constraints, ...asLlama },
})

/** @param read keys that the reader of generation_config.json understands */
export const generationKeys = (read: Iterable<string>): KnownKeys => ({
  read: new Set(read),
  ignored: new Set([
    ...drawing,
    ...words('_from_model_config transformers_version bos_token_id pad_token_id trust_remote_code'),
  ]),
  harmless: constraints,
})

const oneOf = (values: readonly unknown[]): Test => ({
  says: values.map(shown).join(' or ') || 'null',
  holds: (value) => values.some((one) => isSameJson(one, value)),
})

/** Why a value of that key is not harmless; undefined when it is. */
const problemWith = (key: string, value: unknown, content: Keys, known: KnownKeys): string | undefined => {
  if (value === null || known.ignored.has(key)) return undefined
  const harmless = Object.hasOwn(known.harmless, key) ? known.harmless[key] : undefined
  if (!harmless) return known.read.has(key) ? undefined : 'this key is not known here, and may change the text'
  const { says, holds } = 'holds' in harmless ? harmless : oneOf(harmless)
  return holds(value, content) ? undefined : `supported is ${says}`
}

/** @throws MeshError `modelConfigInvalid` naming the first key that changes the result, or may do so */
export const checkKeys = (file: string, content: Keys, known: KnownKeys): void => {
  for (const [key, value] of Object.entries(content)) {
    const problem = problemWith(key, value, content, known)
    if (problem !== undefined)
      throw new MeshError('modelConfigInvalid', { file, problem: `${key} is ${shown(value)}; ${problem}` })
  }
}
