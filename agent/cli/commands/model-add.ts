import { resolve } from 'node:path'
import { MeshError } from '../../../shared/errors.ts'
import { isModelId } from '../../../shared/ids.ts'
import { ownCommand } from '../../../shared/options.ts'
import { formatBytes } from '../../../shared/words.ts'
import { findEntry, type LibraryEntry, saveEntry } from '../../library/library.ts'
import { defineCommand } from '../command.ts'
import { ModelView, modelView, weightsText } from '../model-view.ts'
import { fields } from '../render.ts'
import { nameOfFolder } from '../ring-join.ts'

/** @throws MeshError `usage` */
const givenName = (name: string | undefined): string | undefined => {
  if (name === undefined || isModelId(name)) return name
  throw new MeshError('usage', {
    problem:
      `${JSON.stringify(name.slice(0, 300))} cannot be the name of a model: --name wants name, owner/name or ` +
      'either with :tag (letters, digits, and . _ - inside)',
  })
}

export const modelAdd = defineCommand({
  name: 'model-add',
  summary: 'make a model on this device known by a name',
  details:
    'A Hugging Face folder or a .gguf file (of one in parts: any part). Headers, configuration and tokenizer are ' +
    'checked; the files stay where they are. Without --name it is called as its folder or file. ' +
    'The path may be given without its flag: mesh model-add PATH.',
  needs: ['agent'],
  options: ['path', 'name', 'json'],
  required: ['path'],
  bare: 'path',
  examples: [
    'mesh model-add ~/models/Llama-3.2-1B --name meta-llama/Llama-3.2-1B',
    'mesh model-add ~/models/Qwen3-0.6B-Q8_0.gguf',
  ],
  json: ModelView,
  run: async (context, values) => {
    if (values.path === '') throw new MeshError('usage', { problem: 'the path of a model is empty' })
    const [{ modelPlace }, { describeModel, formatOf }] = await Promise.all([
      import('../../model/folder-diagnosis.ts'),
      import('../../library/describe.ts'),
    ])
    const path = firstPart(modelPlace(resolve(values.path)), (await import('../../model/gguf/name.ts')).ggufParts)
    const name = givenName(values.name) ?? nameOfFolder(resolve(values.path))
    const facts = describeModel(path, name)
    const before = findEntry(context.home, name)
    const entry: LibraryEntry = {
      name,
      path,
      format: formatOf(path),
      weightBytes: facts.weightBytes,
      addedAt: context.now(),
      ...(before?.path === path && before.source ? { source: before.source } : {}),
    }
    saveEntry(context.home, entry)
    if (values.json) {
      context.printJson(modelView(context.home, entry))
      return
    }
    const rows: [string, string][] = [
      ['model', name],
      ['is', `${facts.family}, ${weightsText(facts.weights)} weights, ${formatBytes(facts.weightBytes)}`],
      ['at', path],
      ['next', `${ownCommand()} join-ring --model-id ${name}`],
    ]
    context.stdout.write(fields(rows, context.stdout.columns))
  },
})

/** Of a model in parts the first names all. */
const firstPart = (path: string, partsOf: (path: string) => string[]): string =>
  path.toLowerCase().endsWith('.gguf') ? partsOf(path)[0] : path
