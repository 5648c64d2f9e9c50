/** Tokens that stand around every text: the post-processors of tokenizer.json. */
import { isJson, type Json, shown } from '../json.ts'
import { byType, knownFields, list } from './component.ts'

export interface Surround {
  readonly before: readonly number[]
  readonly after: readonly number[]
}

const nothing: Surround = { before: [], after: [] }

const idsOf = (config: Json, name: unknown): readonly number[] => {
  const tokens = config.special_tokens
  const entry = isJson(tokens) && typeof name === 'string' && Object.hasOwn(tokens, name) ? tokens[name] : undefined
  const ids = isJson(entry) ? entry.ids : undefined
  if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id)))
    throw new Error(`TemplateProcessing: ${shown(name)} has no ids`)
  return ids as number[]
}

const template = (config: Json): Surround => {
  knownFields('TemplateProcessing', config, ['single', 'pair', 'special_tokens'])
  const around: { before: number[]; after: number[] } = { before: [], after: [] }
  let isAfter = false
  for (const step of list(config, 'single')) {
    if (isJson(step) && isJson(step.Sequence)) isAfter = true
    else if (isJson(step) && isJson(step.SpecialToken))
      (isAfter ? around.after : around.before).push(...idsOf(config, step.SpecialToken.id))
    else throw new Error(`TemplateProcessing: ${shown(step)}`)
  }
  if (!isAfter) throw new Error('TemplateProcessing leaves out the text')
  return around
}

/** [name, id] as BERT's and RoBERTa's processors have it. */
const pairId = (value: unknown): number => {
  if (!Array.isArray(value) || !Number.isInteger(value[1])) throw new Error(`${shown(value)} is no token`)
  return value[1] as number
}

const classAndSeparator = (config: Json): Surround => {
  knownFields(String(config.type), config, ['sep', 'cls', 'trim_offsets', 'add_prefix_space'])
  return { before: [pairId(config.cls)], after: [pairId(config.sep)] }
}

const makers: Readonly<Record<string, (config: Json) => Surround>> = {
  TemplateProcessing: template,
  ByteLevel: () => nothing,
  BertProcessing: classAndSeparator,
  RobertaProcessing: classAndSeparator,
  Sequence: (config) => {
    knownFields('Sequence', config, ['processors'])
    return list(config, 'processors')
      .map(createSurround)
      .reduce(
        (inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }),
        nothing,
      )
  },
}

/** @throws Error naming a kind or field that is not supported */
export function createSurround(config: unknown): Surround {
  if (config === null || config === undefined) return nothing
  return byType('post_processor', config, makers)
}
