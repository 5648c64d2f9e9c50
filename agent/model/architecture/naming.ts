/** How the canonical tensors are called in files, and how their rows lie there: the words in which rows say it. */
import type { AttentionSpec, DeltaSpec, ModelSpec } from './model-spec.ts'
import type { Role } from './roles.ts'

/**
 * A tensor of a file, or rows of it, by a template: `{n}` is the number of the layer; one with `{e}` stands for a
 * tensor per expert, stacked.
 */
export interface Naming {
  readonly name: string
  /**
   * Parts that lie in this tensor together: rows of the first, then of the second, ... in each group of rows. A group
   * is everything, the rows of one head, those of one expert, or one row of each part. `keyHead`: q, k, all v and all
   * z of one key head of a delta net, then those of the next.
   */
  readonly together?: readonly string[]
  readonly per?: 'head' | 'keyHead' | 'expert' | 'row'
  /** Columns lie as rows, within each expert. */
  readonly transposed?: 'expert'
  /** Those of `together` whose columns lie as rows within each group. */
  readonly turned?: readonly string[]
  /** Rows of a head are those of pairs (2 i, 2 i + 1) where the canonical order has (i, i + d / 2). */
  readonly permuted?: true
  /** What is done to the values. */
  readonly apply?: 'plusOne' | 'minusExp'
}

/** Of several, the first that is in the file. */
export type PartNaming = string | Naming | readonly (string | Naming)[]
/** By part; those of a layer without its number. */
export type Names = Readonly<Record<string, PartNaming>>

/** Rows of a role that lie in one tensor of the file. */
export interface Piece {
  readonly tensor: string
  /** Rows of the role. */
  readonly rows: number
  /** Row of the tensor (where it is transposed: its column), for each row of the piece. */
  readonly sourceRow: (row: number) => number
  /** Rows of the tensor (where it is transposed: of one expert's columns). */
  readonly sourceRows: number
  readonly columns: number
  /** Experts or heads that are transposed each on their own; 0 where nothing is. */
  readonly transposed: number
  /** Where it is transposed: rows of the tensor in each of those, and those before its first column. */
  readonly lines: { readonly each: number; readonly before: number }
  readonly apply: Naming['apply']
}

const identity = (row: number): number => row

const headsOf = (spec: ModelSpec, role: Role): number => {
  const { mixer } = spec.kinds[spec.layers[role.layer as number]]
  if (mixer.kind === 'delta') return mixer.keyHeads
  return mixer.kind === 'attention' && /\.[kv](\.bias)?$/.test(role.part) ? mixer.kvHeads : mixer.heads
}

const expertsOf = (spec: ModelSpec, role: Role): number =>
  spec.kinds[spec.layers[role.layer as number]].feedForward.experts?.count ?? 1

const groupsOf = (spec: ModelSpec, role: Role, per: Naming['per']): number => {
  if (per === 'head') return headsOf(spec, role)
  if (per === 'expert') return expertsOf(spec, role)
  return per === 'row' ? role.rows : 1
}

/** File row of each row of q, k and v, or of z, that lie together by key heads. */
const byKeyHead = (spec: ModelSpec, role: Role): { readonly rowOf: (row: number) => number; readonly rows: number } => {
  const { keyHeads, valueHeads, keyDim, valueDim } = spec.kinds[spec.layers[role.layer as number]].mixer as DeltaSpec
  const values = (valueHeads / keyHeads) * valueDim
  const group = 2 * (keyDim + values)
  const place = (row: number, size: number, before: number): number =>
    Math.floor(row / size) * group + before + (row % size)
  const keys = keyHeads * keyDim
  const rowOf = (row: number): number => {
    if (role.part === 'delta.z') return place(row, values, 2 * keyDim + values)
    if (row < keys) return place(row, keyDim, 0)
    return row < 2 * keys ? place(row - keys, keyDim, keyDim) : place(row - 2 * keys, values, 2 * keyDim)
  }
  return { rowOf, rows: keyHeads * group }
}

/** File row of each row of a role among those that lie with it. */
const togetherWith = (
  spec: ModelSpec,
  role: Role,
  { together = [role.part], per, name, turned = [] }: Naming,
): { readonly rowOf: (row: number) => number; readonly rows: number; readonly lines?: Piece['lines'] } => {
  const groups = groupsOf(spec, role, per)
  const present = together.filter((part) => Object.hasOwn(role.siblings, part))
  const sizes = present.map((part) => {
    const [rows, columns] = role.siblings[part]
    return turned.includes(part) ? columns : rows / groups
  })
  const at = present.indexOf(role.part)
  if (at < 0 || !sizes.every(Number.isInteger)) throw new Error(`${name} does not hold ${role.part}`)
  const own = sizes[at]
  const before = sizes.slice(0, at).reduce((sum, size) => sum + size, 0)
  const group = sizes.reduce((sum, size) => sum + size, 0)
  if (turned.includes(role.part)) return { rowOf: identity, rows: role.rows, lines: { each: group, before } }
  if (group === own) return { rowOf: identity, rows: role.rows }
  return { rowOf: (row) => Math.floor(row / own) * group + before + (row % own), rows: groups * group }
}

/** File row of each row of q or k, where files keep pairs side by side. */
const unpermuted = (spec: ModelSpec, role: Role): ((row: number) => number) => {
  const { headDim } = spec.kinds[spec.layers[role.layer as number]].mixer as AttentionSpec
  const half = headDim / 2
  return (row) => {
    const inHead = row % headDim
    return row - inHead + 2 * (inHead % half) + Math.floor(inHead / half)
  }
}

/** Where rows of a role lie, by one way to call it. */
export const piecesOf = (spec: ModelSpec, role: Role, naming: Naming): Piece[] => {
  const name = naming.name.replace('{n}', String(role.layer))
  const { rowOf, rows, lines } =
    naming.per === 'keyHead' ? { ...byKeyHead(spec, role), lines: undefined } : togetherWith(spec, role, naming)
  const permute = naming.permuted ? unpermuted(spec, role) : identity
  const piece = {
    tensor: name,
    rows: role.rows,
    sourceRow: (row: number) => rowOf(permute(row)),
    sourceRows: rows,
    columns: role.columns,
    transposed: lines ? groupsOf(spec, role, naming.per) : naming.transposed ? expertsOf(spec, role) : 0,
    lines: lines ?? { each: role.columns, before: 0 },
    apply: naming.apply,
  }
  if (!name.includes('{e}')) return [piece]
  const count = expertsOf(spec, role)
  return Array.from({ length: count }, (_, expert) => ({
    ...piece,
    tensor: name.replace('{e}', String(expert)),
    rows: role.rows / count,
    sourceRows: rows / count,
  }))
}

/** Ways to call a part, as a list. */
export const waysOf = (names: Names, part: string): Naming[] => {
  const found: PartNaming | undefined = Object.hasOwn(names, part) ? names[part] : undefined
  if (found === undefined) return []
  const list = Array.isArray(found) ? (found as readonly (string | Naming)[]) : [found as string | Naming]
  return list.map((one) => (typeof one === 'string' ? { name: one } : one))
}
