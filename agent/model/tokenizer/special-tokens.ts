/** Special tokens of a model folder, from all the files that name them. */
import { type AddedToken, readAddedTokens } from './added-tokens.ts'
import { isJson, type Json } from '../json.ts'
import type { Surround } from './post-processor.ts'

const roles = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token'] as const
type Role = (typeof roles)[number]

/** A token is given as text, or as an object that holds it. */
const contentOf = (token: unknown): string | undefined => {
  const content = isJson(token) ? token.content : token
  return typeof content === 'string' && content !== '' ? content : undefined
}

const more = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : isJson(value) ? Object.values(value) : []

export interface SpecialNames {
  /** Names under the role that a token plays, as chat templates ask for them. */
  readonly byRole: Readonly<Partial<Record<Role, string>>>
  /** All of them. */
  readonly names: ReadonlySet<string>
  /** Tokens that only tokenizer_config.json lists, by id. */
  readonly listed: readonly unknown[]
}

/**
 * @param config tokenizer_config.json
 * @param map special_tokens_map.json, which older folders have besides
 */
export const readSpecialNames = (config: Json, map: Json): SpecialNames => {
  const byRole: Partial<Record<Role, string>> = {}
  for (const role of roles) {
    const content = contentOf(role in config ? config[role] : map[role])
    if (content !== undefined) byRole[role] = content
  }
  const listed = isJson(config.added_tokens_decoder)
    ? Object.entries(config.added_tokens_decoder).map(([id, token]) => ({
        ...(isJson(token) ? token : {}),
        id: Number(id),
      }))
    : []
  const others = [config, map].flatMap((file) => [
    ...more(file.additional_special_tokens),
    ...more(file.extra_special_tokens),
  ])
  const names = [
    ...Object.values(byRole),
    ...others.map(contentOf),
    ...listed.map((token) => ('special' in token && token.special === true ? contentOf(token) : undefined)),
  ]
  return { byRole, names: new Set(names.filter((name) => name !== undefined)), listed }
}

/**
 * Added tokens of all files, each once; what one file calls special is special.
 * @param added of tokenizer.json
 * @throws Error
 */
export const joinTokens = (
  added: readonly AddedToken[],
  { names, listed }: SpecialNames,
  idOf: (name: string) => number | undefined,
): AddedToken[] => {
  const tokens = new Map(added.map((token) => [token.content, token]))
  for (const token of readAddedTokens(listed)) if (!tokens.has(token.content)) tokens.set(token.content, token)
  for (const content of names) {
    const id = tokens.get(content)?.id ?? idOf(content)
    // named, but of no number: nothing can become it
    if (id === undefined) continue
    const plain = { id, content, isSingleWord: false, takesLeft: false, takesRight: false, isNormalized: false }
    tokens.set(content, { ...(tokens.get(content) ?? plain), isSpecial: true })
  }
  return [...tokens.values()]
}

/**
 * What stands around every text: as the post-processor says, unless tokenizer_config.json says outright whether it
 * begins and ends with a token (transformers then leaves the post-processor out).
 */
export const surroundOf = (
  surround: Surround,
  config: Json,
  ids: { readonly bos?: number; readonly eos?: number },
): Surround => {
  const begin = (wanted: unknown, { before }: Surround, id: number | undefined): readonly number[] => {
    if (typeof wanted !== 'boolean' || id === undefined) return before
    if (!wanted) return before.filter((one) => one !== id)
    return before.includes(id) ? before : [id, ...before]
  }
  const end = (wanted: unknown, { after }: Surround, id: number | undefined): readonly number[] => {
    if (typeof wanted !== 'boolean' || id === undefined) return after
    if (!wanted) return after.filter((one) => one !== id)
    return after.includes(id) ? after : [...after, id]
  }
  return { before: begin(config.add_bos_token, surround, ids.bos), after: end(config.add_eos_token, surround, ids.eos) }
}
