import { MeshError } from '../../../shared/errors.ts'
import { ownCommand } from '../../../shared/options.ts'
import { formatBytes } from '../../../shared/words.ts'
import { defineCommand } from '../command.ts'
import { ModelView, modelView } from '../model-view.ts'
import { createFetchingText } from '../fetching-text.ts'
import { fields } from '../render.ts'

/** @throws MeshError `usage` */
const hubUrl = (text: string): string => {
  const url = URL.parse(text)
  if (url && ['http:', 'https:'].includes(url.protocol)) return text.replace(/\/+$/, '')
  throw new MeshError('usage', { problem: `--hub wants an http or https address, got "${text.slice(0, 300)}"` })
}

export const modelPull = defineCommand({
  name: 'model-pull',
  summary: 'fetch a model from a hub into the library of this device',
  details:
    'All files that a model needs, from Hugging Face or another hub with the same API (HF_ENDPOINT), with the token of ' +
    'HF_TOKEN where it needs one. Of a repository with several .gguf files --file names one. Every file is compared ' +
    'with the hash that the hub states. What was fetched stays after Ctrl-C or a failure: the same command goes on. ' +
    'The name may be given without its flag: mesh model-pull OWNER/NAME.',
  needs: ['agent'],
  options: ['model', 'revision', 'file', 'maxDownload', 'hub', 'hubToken', 'json'],
  required: ['model'],
  bare: 'model',
  examples: ['mesh model-pull Qwen/Qwen3-0.6B', 'mesh model-pull Qwen/Qwen3-8B-GGUF --file Q4_K_M --max-download 10GB'],
  json: ModelView,
  run: async (context, values) => {
    if (!/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(values.model))
      throw new MeshError('usage', { problem: `a model of a hub is OWNER/NAME, got "${values.model.slice(0, 300)}"` })
    const { pullModel } = await import('../../library/pull.ts')
    const { home, signal, now } = context
    const text = createFetchingText(context)
    try {
      const entry = await pullModel({
        home,
        hub: { url: hubUrl(values.hub), token: values.hubToken, fetch: context.fetch, signal },
        repo: values.model,
        revision: values.revision,
        file: values.file,
        maxBytes: values.maxDownload,
        now,
        onProgress: text.show,
      })
      text.end()
      if (values.json) {
        context.printJson(modelView(home, entry))
        return
      }
      const rows: [string, string][] = [
        ['model', entry.name],
        ['weights', `${formatBytes(entry.weightBytes)} of ${entry.format}`],
        ['at', entry.path],
        ['next', `${ownCommand()} join-ring --model-id ${entry.name}`],
      ]
      context.stdout.write(fields(rows, context.stdout.columns))
    } finally {
      text.end()
    }
  },
})
