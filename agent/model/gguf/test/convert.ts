/** Converts a folder of safetensors to GGUF in any mixture of types, with ggml's own quantisation. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Checkpoint, GgufExtras } from '../../architecture/random-checkpoint.ts'
import { writeGgufCheckpoint } from '../../architecture/random-checkpoint.ts'
import { readSpec } from '../../architecture/read-spec.ts'
import { rolesOf } from '../../architecture/roles.ts'
import { usualKeys } from '../../architecture/test/tiny-models.ts'
import { ggmlQuantize } from '../../blocks/test/ggml-blocks.ts'
import type { Json } from '../../json.ts'
import { openSource } from '../../model-source.ts'
import { type MixtureName, mixtures, typeIn } from './mixtures.ts'
import { type TokenizerJson, tokenizerMetadata } from './tokenizer-metadata.ts'

/** Writes canonical tensors as a file of that mixture. */
export const writeMixture = (
  path: string,
  checkpoint: Checkpoint,
  mixture: MixtureName,
  { metadata, ...extras }: GgufExtras,
): void =>
  writeGgufCheckpoint(path, checkpoint, {
    ...extras,
    metadata: { ...metadata, 'general.file_type': { type: 'u32', value: mixtures[mixture].number } },
    encode: (name, { dims, values }) => {
      const type = typeIn(mixture, checkpoint.spec, { name, dims })
      return { type, bytes: () => ggmlQuantize(type, values, dims[dims.length - 1]) }
    },
  })

const readJson = (folder: string, name: string): Json => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Json

/** What a folder holds, as it would be drawn. @param folder of safetensors, byte-level BPE cut as GPT-2's */
export const readFolder = (folder: string): { readonly checkpoint: Checkpoint; readonly extras: GgufExtras } => {
  const config = readJson(folder, 'config.json')
  const { family, spec } = readSpec(config, { file: folder })
  const source = openSource(folder)
  try {
    const roles = source.roles()
    // what is read stays, so that the files may be closed
    const read = rolesOf(spec).map(({ role }): [string, ReturnType<typeof roles.role>] => {
      const found = roles.role(role)
      const values = found.readRows(0, found.rows)
      return [role, { ...found, readRows: (start, end) => values.slice(start * found.columns, end * found.columns) }]
    })
    const tokenizer = readJson(folder, 'tokenizer.json') as unknown as TokenizerJson
    return {
      checkpoint: { family, spec, roles: new Map(read) },
      extras: {
        keys: usualKeys(spec, config),
        metadata: {
          ...tokenizerMetadata(tokenizer, 'gpt2', 'gpt-2'),
          'tokenizer.ggml.bos_token_id': { type: 'u32', value: Number(config.bos_token_id) },
          'tokenizer.ggml.eos_token_id': { type: 'u32', value: Number(config.eos_token_id) },
          'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
          'tokenizer.chat_template': {
            type: 'string',
            value: String(readJson(folder, 'tokenizer_config.json').chat_template),
          },
        },
      },
    }
  } finally {
    source.close()
  }
}
