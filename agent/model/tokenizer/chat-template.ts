/**
 * The chat template of a model folder: a file of its own, or in tokenizer_config.json as a text or a list of named
 * ones.
 */
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { MeshError, problemOf } from '../../../shared/errors.ts'
import type { Message } from '../../../shared/schema/job.ts'
import { readOptionalFile } from '../model-file.ts'
import { isJson, type Json, shown } from '../json.ts'

/** Bytes; the longest ones have about thirty thousand. */
const templateBytes = 4 * 2 ** 20
const templateFile = 'chat_template.jinja'

export interface ChatTemplate {
  /** The conversation up to where the answer begins. @throws MeshError `modelConfigInvalid` when the template fails */
  render(messages: readonly Message[]): string
}

/** @param special names of special tokens, as templates ask for them: `bos_token` and others */
export const createChatTemplate = (file: string, source: string, special: Json): ChatTemplate => {
  const invalid = (error: unknown): MeshError =>
    new MeshError('modelConfigInvalid', { file, problem: `the chat template fails: ${problemOf(error)}` }, error)
  let template: Template | undefined
  return {
    render: (messages) => {
      try {
        template ??= new Template(source.toWellFormed())
        return template.render({ ...special, messages, add_generation_prompt: true, tools: null, documents: null })
      } catch (error) {
        throw invalid(error)
      }
    },
  }
}

/** Of several templates the one for plain conversations: named default, or the only one. */
const ofSeveral = (entries: readonly unknown[]): string | undefined => {
  const named = entries.filter(
    (entry): entry is { name: string; template: string } =>
      isJson(entry) && typeof entry.name === 'string' && typeof entry.template === 'string',
  )
  if (named.length !== entries.length)
    throw new Error(`chat_template is ${shown(entries)}, not a text or a list of names and templates`)
  return named.find(({ name }) => name === 'default')?.template ?? (named.length === 1 ? named[0].template : undefined)
}

const templateIn = (value: unknown): string | undefined => {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return ofSeveral(value)
  if (isJson(value)) return ofSeveral(Object.entries(value).map(([name, template]) => ({ name, template })))
  throw new Error(`chat_template is ${shown(value)}, not a text or a list of names and templates`)
}

/** @param file that holds `config`. @throws MeshError `modelConfigInvalid` */
export const templateOfConfig = (file: string, config: Json, special: Json): ChatTemplate | undefined => {
  let source: string | undefined
  try {
    source = templateIn(config.chat_template)
  } catch (error) {
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
  return source === undefined ? undefined : createChatTemplate(file, source, special)
}

/**
 * The template of a folder; a file of its own counts before `tokenizer_config.json`, as in transformers.
 * @param config content of tokenizer_config.json
 * @throws MeshError `modelConfigInvalid`
 */
export const readChatTemplate = (folder: string, config: Json, special: Json): ChatTemplate | undefined => {
  const own = readOptionalFile(folder, templateFile, templateBytes)
  if (own) return createChatTemplate(join(folder, templateFile), own.toString('utf8'), special)
  return templateOfConfig(join(folder, 'tokenizer_config.json'), config, special)
}
