import { Type } from 'typebox'
import { formatBytes } from '../../../shared/words.ts'
import { readLibrary } from '../../library/library.ts'
import { defineCommand } from '../command.ts'
import { ModelView, modelView, servedText, sourceText } from '../model-view.ts'
import { table } from '../render.ts'

export const modelList = defineCommand({
  name: 'model-list',
  summary: 'models that this device knows by name',
  details: 'Those of mesh model-add. The model that comes with Mesh, tiny-story, needs no entry.',
  options: ['json'],
  examples: ['mesh model-list', 'mesh model-list --json'],
  json: Type.Array(ModelView),
  run: async (context, values) => {
    const { entries, problems } = readLibrary(context.home)
    for (const { message } of problems) context.stderr.write(`note: ${message}; it is left as it is\n`)
    const views = entries.map((entry) => modelView(context.home, entry))
    if (values.json) {
      context.printJson(views)
      return
    }
    if (views.length === 0) {
      context.stdout.write('the library of this device is empty: mesh model-add PATH\n')
      return
    }
    const rows = views.map((view) => [
      view.name,
      view.format,
      formatBytes(view.weightBytes),
      sourceText(view),
      servedText(context.home, view) || '-',
    ])
    context.stdout.write(
      table(['model', 'format', 'weights', 'from', 'served in'], rows, {
        columns: context.stdout.columns,
        under: views.map(({ path }) => [path]),
      }),
    )
  },
})
