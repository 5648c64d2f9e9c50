/**
 * Prints what was compared, families by formats by worlds: `node agent/engine/test/families-table.ts [PART-OF-NAME]`.
 * Each figure is the worst error of a logit over all positions, as a part of the largest logit of its row, beside the
 * float64 oracle; `llama.cpp` is its own error on the same GGUF file.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { notComputed } from '../../model/architecture/computed.ts'
import {
  type Checkpoint,
  checkpointOf,
  writeCheckpoint,
  writeGgufCheckpoint,
} from '../../model/architecture/random-checkpoint.ts'
import { rolesOf } from '../../model/architecture/roles.ts'
import type { RoleTensor } from '../../model/architecture/tensor-roles.ts'
import { type LlamaCpp, startLlamaCpp } from '../../model/architecture/test/llama-cpp.ts'
import { oracleLogits } from '../../model/architecture/test/oracle.ts'
import { type TinyFamily, tinyFamilies } from '../../model/architecture/test/tiny-models.ts'
import { openSource } from '../../model/model-source.ts'
import { compareFile, mixtureNames, wideModels } from './quantised-file.ts'
import { relativeError } from './reference-model.ts'
import { tokensOf, worstError } from './worst-error.ts'

const [wanted = ''] = process.argv.slice(2)
const worlds = [[1], [2, 1], [1, 3, 1], [1, 1, 1, 2]]
/** Beyond every window and original context. */
const chunks = [70, 1, 1]
const folder = mkdtempSync(join(tmpdir(), 'mesh-table-'))

const print = (family: string, format: string, llamaCpp: number | undefined, own: readonly number[]): void =>
  void process.stdout.write(
    `| ${[family, format, llamaCpp === undefined ? '-' : llamaCpp.toExponential(1), ...own.map((error) => error.toExponential(1))].join(' | ')} |\n`,
  )

/** As opened from disk, in every world. */
const errorsOf = async (path: string, want: readonly ArrayLike<number>[]): Promise<number[]> => {
  const source = openSource(path)
  try {
    const { spec } = source
    const roles = new Map(rolesOf(spec).map(({ role }): [string, RoleTensor] => [role, source.roles().role(role)]))
    const errors: number[] = []
    for (const shares of worlds) errors.push(await worstError({ spec, roles, quant: 'f32', shares, chunks }, want))
    return errors
  } finally {
    source.close()
  }
}

const llamaError = async (
  llama: LlamaCpp,
  file: string,
  { tiny, spec, want }: { tiny: TinyFamily; spec: Checkpoint['spec']; want: readonly ArrayLike<number>[] },
): Promise<number | undefined> => {
  if (tiny.comparable === 0) return undefined
  const got = await llama.logits(file, tokensOf(spec, chunks))
  // behind these tokens it departs from what the makers do
  return Math.max(...got.slice(0, tiny.comparable).map((row, position) => relativeError(row, want[position])))
}

const printFamily = async (llama: LlamaCpp, tiny: TinyFamily): Promise<void> => {
  const checkpoint = checkpointOf(tiny)
  const { spec, roles } = checkpoint
  const problem = notComputed(spec)
  if (problem !== undefined) {
    process.stdout.write(`| ${tiny.name} | not computed: ${problem} |\n`)
    return
  }
  const want = oracleLogits(spec, roles, tokensOf(spec, chunks))
  const place = join(folder, 'safetensors')
  writeCheckpoint(place, tiny.config, checkpoint)
  print(tiny.name, 'safetensors F32', undefined, await errorsOf(place, want))
  const file = join(folder, 'tiny.gguf')
  writeGgufCheckpoint(file, tiny.inGguf?.(checkpoint) ?? checkpoint, tiny.gguf(spec))
  const reference = await llamaError(llama, file, { tiny, spec, want })
  print(tiny.name, 'GGUF F32', reference, await errorsOf(file, want))
}

const llama = startLlamaCpp()
try {
  process.stdout.write(
    `| family | format | llama.cpp | ${worlds.map((shares) => `shares ${shares.join(' ')}`).join(' | ')} |\n` +
      `|${' --- |'.repeat(3 + worlds.length)}\n`,
  )
  for (const tiny of tinyFamilies) if (tiny.name.includes(wanted)) await printFamily(llama, tiny)
  for (const name of Object.keys(wideModels).filter((one) => one.includes(wanted)))
    for (const mixture of mixtureNames) {
      const { llamaCpp, own } = await compareFile({ name, mixture, worlds }, { folder, llama })
      print(`${name}, wide`, `GGUF ${mixture}`, Math.max(...llamaCpp), own)
    }
} finally {
  await llama.close()
  rmSync(folder, { recursive: true, force: true })
}
