/**
 * Tiny checkpoints of any family with random weights that mean something, as a safetensors folder and as GGUF: for
 * tests. Canonical tensors are drawn first and laid into files as the names of the family say.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { byteVocabulary } from '../gguf/byte-vocabulary.ts'
import { writeGguf, type TypedValue, type WrittenTensor } from '../gguf/write-gguf.ts'
import type { Json } from '../json.ts'
import { writeTokenizer } from '../random-model.ts'
import { randomSource } from '../random-source.ts'
import { ggufNamesOf, safetensorsNames } from './bind.ts'
import type { Family } from './family.ts'
import type { ModelSpec } from './model-spec.ts'
import { type Names, type Naming, type Piece, piecesOf, waysOf } from './naming.ts'
import { readSpec } from './read-spec.ts'
import { rolesOf, type Role } from './roles.ts'
import type { RoleTensor } from './tensor-roles.ts'

/**
 * How values are drawn: around `centre`, up to `width` to both sides. Activations keep their size; logits have a
 * deviation of about 3, and what layers add is not small beside the embedding, which tied models would repeat.
 */
const drawn = ({ part, columns }: Role): { readonly centre: number; readonly width: number } => {
  const unit = Math.sqrt(3 / columns)
  if (part === 'head' || part === 'embedding') return { centre: 0, width: 3 * unit }
  if (part.endsWith('postNorm')) return { centre: 4, width: 0.8 }
  if (/norm$/i.test(part) || part.endsWith('expertScale')) return { centre: 1, width: 0.2 }
  if (part.endsWith('sinks')) return { centre: 0, width: 3 }
  if (part === 'delta.decay') return { centre: -1, width: 0.9 }
  if (part === 'delta.dtBias') return { centre: 0, width: 1 }
  if (part.endsWith('choiceBias')) return { centre: 0, width: 0.4 }
  if (part.endsWith('bias')) return { centre: 0, width: 0.4 }
  return { centre: 0, width: (part === 'mlp.router' ? 2 : 1) * unit }
}

/** Random canonical tensors; the same for the same seed. */
export const randomRoles = (spec: ModelSpec, seed: number): Map<string, RoleTensor> => {
  const random = randomSource(seed)
  const tensors = rolesOf(spec).map((role): [string, RoleTensor] => {
    const { centre, width } = drawn(role)
    const values = Float32Array.from({ length: role.rows * role.columns }, () => centre + width * random())
    const readRows = (start: number, end: number): Float32Array =>
      values.slice(start * role.columns, end * role.columns)
    return [
      role.role,
      {
        role: role.role,
        rows: role.rows,
        columns: role.columns,
        type: 'F32',
        sources: [role.role],
        readRows,
        readBytes: (start, end) => new Uint8Array(readRows(start, end).buffer),
      },
    ]
  })
  return new Map(tensors)
}

export interface FileTensor {
  readonly dims: readonly number[]
  readonly values: Float32Array
}

const stored: Readonly<Record<'plusOne' | 'minusExp', (value: number) => number>> = {
  plusOne: (value) => value - 1,
  minusExp: (value) => Math.log(-value),
}

const dimsOf = (spec: ModelSpec, role: Role, naming: Naming, piece: Piece): number[] => {
  const { sourceRows, columns, transposed, lines } = piece
  const { mixer } = spec.kinds[spec.layers[role.layer ?? 0]]
  if (naming.turned && transposed) return [transposed * lines.each, sourceRows / transposed]
  if (transposed) return [transposed, columns, sourceRows / transposed]
  if (/^mla\.[kv]b$/.test(role.part) && !naming.together && mixer.kind === 'mla')
    return [mixer.heads, sourceRows / mixer.heads, columns]
  const stacked = role.part.startsWith('mlp.experts.') && !naming.name.includes('{e}')
  if (!stacked) return columns === 1 ? [sourceRows] : [sourceRows, columns]
  const experts = role.siblings['mlp.router'][0]
  return columns === 1 ? [experts, sourceRows / experts] : [experts, sourceRows / experts, columns]
}

/** Lays rows of one piece into the tensor of the file. */
const lay = (piece: Piece, values: Float32Array, into: Float32Array): void => {
  const { columns, transposed, sourceRows, sourceRow, lines, apply } = piece
  const width = transposed ? sourceRows / transposed : 0
  for (let row = 0; row < piece.rows; row++) {
    const target = sourceRow(row)
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column]
      const at = transposed
        ? (Math.floor(target / width) * lines.each + lines.before + column) * width + (target % width)
        : target * columns + column
      into[at] = apply ? stored[apply](value) : value
    }
  }
}

/** Tensors of a file by their names: the first canonical one that lies in each, and its dims in Hugging Face's order. */
export const fileLayout = (
  spec: ModelSpec,
  names: Names,
): Map<string, { readonly dims: readonly number[]; readonly role: Role }> => {
  const files = new Map<string, { dims: readonly number[]; role: Role }>()
  for (const role of rolesOf(spec)) {
    const [naming] = waysOf(names, role.part)
    if (!naming) throw new Error(`no name for ${role.role}`)
    for (const piece of piecesOf(spec, role, naming))
      if (!files.has(piece.tensor)) files.set(piece.tensor, { dims: dimsOf(spec, role, naming, piece), role })
  }
  return files
}

/** Tensors of a file, in which the given canonical ones lie. @param way which of several ways to call a part */
export const fileTensors = (
  spec: ModelSpec,
  roles: ReadonlyMap<string, RoleTensor>,
  names: Names,
  way: 'first' | 'last' = 'first',
): Map<string, FileTensor> => {
  const files = new Map<string, FileTensor>()
  for (const role of rolesOf(spec)) {
    const naming = waysOf(names, role.part).at(way === 'first' ? 0 : -1)
    if (!naming) throw new Error(`no name for ${role.role}`)
    const { readRows } = roles.get(role.role) as RoleTensor
    let start = 0
    for (const piece of piecesOf(spec, role, naming)) {
      const dims = dimsOf(spec, role, naming, piece)
      const size = dims.reduce((product, dim) => product * dim, 1)
      const file = files.get(piece.tensor) ?? { dims, values: new Float32Array(size) }
      lay(piece, readRows(start, start + piece.rows), file.values)
      files.set(piece.tensor, file)
      start += piece.rows
    }
  }
  return files
}

export interface TinyModel {
  /** config.json. */
  readonly config: Json
  readonly seed: number
}

export interface Checkpoint {
  readonly family: Family
  readonly spec: ModelSpec
  readonly roles: ReadonlyMap<string, RoleTensor>
}

/** What a tiny model is made of, before it is in any file. */
export const checkpointOf = ({ config, seed }: TinyModel): Checkpoint => {
  const { family, spec } = readSpec(config, { file: 'config.json' })
  return { family, spec, roles: randomRoles(spec, seed) }
}

const bytesOf = ({ values }: FileTensor): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength)

/** Writes config.json, model.safetensors (F32) and a tokenizer of bytes. */
export const writeCheckpoint = (folder: string, config: Json, { family, spec, roles }: Checkpoint): void => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  writeTokenizer(folder, spec.vocab)
  const header: Record<string, object> = { __metadata__: { format: 'pt' } }
  const parts: Buffer[] = []
  let end = 0
  for (const [name, tensor] of fileTensors(spec, roles, safetensorsNames(family))) {
    const bytes = bytesOf(tensor)
    header[name] = { dtype: 'F32', shape: tensor.dims, data_offsets: [end, end + bytes.length] }
    parts.push(bytes)
    end += bytes.length
  }
  const text = Buffer.from(JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([prefix, text, ...parts]))
}

export interface GgufExtras {
  /** Keys behind the architecture, as the converter of llama.cpp would write them. */
  readonly keys: Readonly<Record<string, TypedValue>>
  /** Vectors that are no role, such as factors of rope. */
  readonly vectors?: Readonly<Record<string, readonly number[]>>
  /** Takes the last of several ways to call a part: fused tensors. */
  readonly way?: 'first' | 'last'
  /** How a tensor is stored. Default: F32 */
  readonly encode?: (name: string, tensor: FileTensor) => Pick<WrittenTensor, 'type' | 'bytes'>
  /** Further keys; a tokenizer among them stands in for the made-up one. */
  readonly metadata?: Readonly<Record<string, TypedValue>>
}

const inF32 = (_name: string, tensor: FileTensor): Pick<WrittenTensor, 'type' | 'bytes'> => ({
  type: 'F32',
  bytes: () => bytesOf(tensor),
})

/** Writes the same model as a GGUF file. */
export const writeGgufCheckpoint = (path: string, { family, spec, roles }: Checkpoint, extras: GgufExtras): void => {
  if (!family.gguf) throw new Error(`${family.name} is not read from GGUF`)
  const { architecture } = family.gguf
  const { encode = inF32, metadata = {} } = extras
  const files = fileTensors(spec, roles, ggufNamesOf(family), extras.way)
  for (const [name, values] of Object.entries(extras.vectors ?? {}))
    files.set(name, { dims: [values.length], values: Float32Array.from(values) })
  writeGguf(path, {
    metadata: {
      'general.architecture': { type: 'string', value: architecture },
      'general.file_type': { type: 'u32', value: 0 },
      ...Object.fromEntries(Object.entries(extras.keys).map(([key, value]) => [`${architecture}.${key}`, value])),
      ...(Object.hasOwn(metadata, 'tokenizer.ggml.model') ? {} : byteVocabulary(spec.vocab)),
      ...metadata,
    },
    tensors: [...files].map(([name, tensor]) => ({
      name,
      dims: tensor.dims.length === 2 && tensor.dims[0] === 1 ? [tensor.dims[1]] : tensor.dims,
      ...encode(name, tensor),
    })),
  })
}
