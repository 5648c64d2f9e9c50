import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { formatBytes } from '../../../shared/words.ts'
import { placeOf } from '../../library/library.ts'
import { ModelFacts } from '../../library/model-facts.ts'
import { defineCommand } from '../command.ts'
import { libraryModel } from '../library-model.ts'
import { ModelView, modelView, servedText, weightsText } from '../model-view.ts'
import { fields } from '../render.ts'

export const modelShow = defineCommand({
  name: 'model-show',
  summary: 'what a model of the library is, and where its files lie',
  details: 'From its headers; weights are not read. The name may be given without its flag: mesh model-show NAME.',
  needs: ['agent'],
  options: ['model', 'json'],
  required: ['model'],
  bare: 'model',
  examples: ['mesh model-show Qwen/Qwen3-0.6B', 'mesh model-show Qwen/Qwen3-0.6B --json'],
  json: Type.Object({ ...ModelView.properties, ...ModelFacts.properties }),
  run: async (context, values) => {
    const entry = libraryModel(context.home, values.model)
    const path = placeOf(context.home, entry.name)
    if (path === undefined) throw new MeshError('modelGone', { name: entry.name, path: entry.path })
    const { describeModel } = await import('../../library/describe.ts')
    const facts = describeModel(path, entry.name)
    const view = modelView(context.home, entry)
    if (values.json) {
      context.printJson({ ...view, ...facts })
      return
    }
    const { source } = entry
    const rows: [string, string][] = [
      ['model', entry.name],
      ['is', `${facts.family}, ${weightsText(facts.weights)} weights, ${facts.layers} layers of ${facts.hidden}`],
      ['context', `${facts.context} tokens`],
      ['weights', `${formatBytes(facts.weightBytes)} of ${entry.format}`],
      ['at', path],
      ...(source ? [['from', `${source.hub}/${source.repo}, ${source.revision} (${source.commit})`] as const] : []),
      ...(source?.files ?? []).map(({ path: file, bytes, hash }): [string, string] => [
        'file',
        `${file}, ${formatBytes(bytes)}, ${hash}`,
      ]),
      ['served in', servedText(context.home, view) || '-'],
    ].map(([key, value]): [string, string] => [key, value])
    context.stdout.write(fields(rows, context.stdout.columns))
  },
})
