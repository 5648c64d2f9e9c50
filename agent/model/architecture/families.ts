/** All families that are supported: a new one of known parts is a row here, and a test. */
import type { Family } from './family.ts'
import { gemma, gemma2, gemma3 } from './families/gemma.ts'
import { gptOss } from './families/gpt-oss.ts'
import { llama, mistral, mixtral, smollm3 } from './families/llama.ts'
import { phi3 } from './families/phi.ts'
import { qwen35, qwen35Moe, qwen3Next } from './families/qwen-delta.ts'
import { qwen2, qwen3, qwen3Moe } from './families/qwen.ts'

import { cohere, cohere2 } from './families/cohere.ts'
import { deepseekV3 } from './families/deepseek.ts'
import { exaone4 } from './families/exaone.ts'
import { glm4Moe } from './families/glm.ts'
import { granite, graniteMoe } from './families/granite.ts'
import { minimaxM2 } from './families/minimax.ts'
import { ministral3 } from './families/ministral.ts'
import { olmo2, olmo3 } from './families/olmo.ts'

export const families: readonly Family[] = [
  llama,
  mistral,
  ministral3,
  mixtral,
  qwen2,
  qwen3,
  qwen3Moe,
  qwen35,
  qwen35Moe,
  qwen3Next,
  gemma,
  gemma2,
  gemma3,
  phi3,
  gptOss,
  smollm3,
  deepseekV3,
  glm4Moe,
  minimaxM2,
  olmo2,
  olmo3,
  cohere,
  cohere2,
  granite,
  graniteMoe,
  exaone4,
]
