/** The backend that runs a shard: the one that was asked for, or the fastest that works here. */
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Quant } from '../../shared/schema/model.ts'
import { type BlockColumns, blockColumns } from '../model/quantize.ts'
import type { BackendOptions } from '../engine/backend.ts'
import { createGgmlBackend } from './ggml/ggml-backend.ts'
import { hasGgml } from '../engine/ggml/library.ts'
import type { HostedBackend } from './hosted-backend.ts'
import { createOnnxBackend } from './onnx/onnx-backend.ts'

export const backendChoices = ['auto', 'onnx', 'ggml'] as const
export type BackendChoice = (typeof backendChoices)[number]

/**
 * Columns of a block of quantisation that suit the backend of this device: ONNX Runtime is about 1.15 times as fast on
 * 4-bit blocks of 128 and holds them in 15 % less memory; ggml knows blocks of 32 alone. Each rank of a ring has its
 * own.
 */
export const blockColumnsFor = (choice: BackendChoice, quant: Quant): BlockColumns => {
  const isOnnx = choice === 'onnx' || (choice === 'auto' && !hasGgml())
  return quant === 'q4' && isOnnx ? 128 : blockColumns
}

/**
 * `auto`: ggml's kernels where they are installed and pass their self-test (about 1.6 times as fast on CPU), else ONNX
 * Runtime; why not is logged.
 * @throws MeshError `backendFailed`
 */
export const createBackend = async (
  choice: BackendChoice,
  options: BackendOptions,
  { logger, progress }: { readonly logger: Logger; progress(fraction: number): void },
): Promise<HostedBackend> => {
  const started = (backend: HostedBackend): HostedBackend => {
    logger.info({ backend: backend.name, with: backend.description }, `computing with ${backend.name}`)
    return backend
  }
  if (choice === 'onnx') return started(await createOnnxBackend(options, progress))
  try {
    return started(await createGgmlBackend(options, progress))
  } catch (error) {
    const failure = MeshError.from(error)
    if (choice === 'ggml') throw failure
    logger.warn({ reason: failure.message }, 'ggml cannot be used here; going on with ONNX Runtime')
    return started(await createOnnxBackend(options, progress))
  }
}
