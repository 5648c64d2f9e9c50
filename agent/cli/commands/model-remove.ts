import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { Count } from '../../../shared/schema/common.ts'
import { formatBytes } from '../../../shared/words.ts'
import { removeEntry } from '../../library/library.ts'
import { defineCommand } from '../command.ts'
import { libraryModel } from '../library-model.ts'
import { ModelView, modelView } from '../model-view.ts'

export const modelRemove = defineCommand({
  name: 'model-remove',
  summary: 'forget a model of the library',
  details:
    'Files that were added with mesh model-add stay where they are; those that Mesh fetched are removed. ' +
    'The name may be given without its flag: mesh model-remove NAME.',
  options: ['model', 'json'],
  required: ['model'],
  bare: 'model',
  examples: ['mesh model-remove Qwen/Qwen3-0.6B'],
  json: Type.Object({ removed: ModelView, freedBytes: Count }),
  run: async (context, values) => {
    const entry = libraryModel(context.home, values.model)
    const view = modelView(context.home, entry)
    if (view.rings.length > 0)
      throw new MeshError('modelInUse', { name: entry.name, path: entry.path, modelId: view.rings[0].modelId })
    const freedBytes = removeEntry(context.home, entry)
    if (values.json) context.printJson({ removed: view, freedBytes })
    else
      context.stdout.write(
        `removed ${entry.name} from the library; ` +
          `${entry.source ? `${formatBytes(freedBytes)} are free again` : `its files stay at ${entry.path}`}\n`,
      )
  },
})
