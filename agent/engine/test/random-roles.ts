/** Canonical tensors with random values, for any spec: models that never were a file. */
import { layerSpec, type ModelSpec } from '../../model/architecture/model-spec.ts'
import type { RoleTensor, Roles } from '../../model/architecture/tensor-roles.ts'

/** xorshift32 (Marsaglia, 2003): uniform in -1..1. */
const randomSource = (seed: number): (() => number) => {
  let state = (Math.imul(seed, 0x9e3779b9) ^ 0x6a09e667) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 31 - 1
  }
}

const hashOf = (text: string): number => [...text].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) | 0, 7)

/** Rows and columns of a role, as `tensor-roles.ts` says. */
const sizeOf = (spec: ModelSpec, role: string): readonly [number, number] => {
  const { hidden, vocab } = spec
  if (role === 'embedding' || role === 'head') return [vocab, hidden]
  const [, number, part] = /^layers\.(\d+)\.(.+)$/.exec(role) ?? []
  if (part === undefined || part.endsWith('.norm') || part.endsWith('ostNorm') || part.endsWith('orm.bias'))
    return [hidden, 1]
  const { mixer, feedForward } = layerSpec(spec, Number(number))
  const { dense, experts } = feedForward
  const plain = part.replace(/\.bias$/, '')
  const sizes: Record<string, readonly [number, number]> = {}
  if (mixer.kind === 'attention') {
    const [q, kv] = [mixer.heads * mixer.headDim, mixer.kvHeads * mixer.headDim]
    Object.assign(sizes, {
      'attention.q': [q, hidden],
      'attention.gate': [q, hidden],
      'attention.k': [kv, hidden],
      'attention.v': [kv, hidden],
      'attention.o': [hidden, q],
      'attention.qNorm': [mixer.headDim, 1],
      'attention.kNorm': [mixer.headDim, 1],
      'attention.sinks': [mixer.heads, 1],
    })
  }
  const mlp = (name: string, ffn: number, count = 1): void =>
    void Object.assign(sizes, {
      [`${name}.gate`]: [count * ffn, hidden],
      [`${name}.up`]: [count * ffn, hidden],
      [`${name}.down`]: [count * hidden, ffn],
    })
  if (dense) mlp('mlp', dense.ffn)
  if (experts) {
    mlp('mlp.experts', experts.ffn, experts.count)
    if (experts.shared) mlp('mlp.shared', experts.shared.ffn)
    Object.assign(sizes, {
      'mlp.router': [experts.count, hidden],
      'mlp.router.choiceBias': [experts.count, 1],
      'mlp.router.expertScale': [experts.count, 1],
      'mlp.shared.scale': [1, hidden],
    })
  }
  const found = sizes[part] ?? sizes[plain]
  if (!found) throw new Error(`no size for ${role}`)
  return part === plain ? found : [found[0], 1]
}

/** Values of a role: norms near one, others so that activations keep their size. */
const valuesOf = (role: string, rows: number, columns: number, random: () => number): Float32Array => {
  const isScale = /norm$/i.test(role) || role.endsWith('expertScale')
  const size = role === 'embedding' ? 1 : role.endsWith('router') ? 6 : 1
  const scale = columns > 1 ? size * Math.sqrt(3 / columns) : 0.5
  return Float32Array.from({ length: rows * columns }, () => (isScale ? 1 + 0.3 * random() : scale * random()))
}

/** The same values for the same seed, whatever is asked for first. */
export const randomRoles = (spec: ModelSpec, seed = 1): Roles => {
  const made = new Map<string, RoleTensor>()
  return {
    role: (name) => {
      const role = name === 'head' && spec.tied ? 'embedding' : name
      const known = made.get(role)
      if (known) return known
      const [rows, columns] = sizeOf(spec, role)
      const values = valuesOf(role, rows, columns, randomSource(seed * 7919 + hashOf(role)))
      const readRows = (start: number, end: number): Float32Array => values.slice(start * columns, end * columns)
      const tensor: RoleTensor = {
        role,
        rows,
        columns,
        type: 'F32',
        sources: [role],
        readRows,
        readBytes: (start, end) => new Uint8Array(readRows(start, end).buffer),
      }
      made.set(role, tensor)
      return tensor
    },
  }
}
