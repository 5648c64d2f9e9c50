/** Models, rings, shards, and the memory that is locked for them. */
import { isModelId } from '../ids.ts'
import type { OptionRecord } from './record.ts'

const modelNameForm = {
  name: 'a name such as llama, owner/name or name:tag (letters, digits, . _ -)',
  matches: isModelId,
}

export const modelOptions = {
  modelId: {
    flag: '--model-id',
    value: '<name>',
    type: 'string',
    env: 'MESHNET_MODEL',
    default: 'tiny-story',
    form: modelNameForm,
    help: 'the model',
  },
  modelDir: {
    flag: '--model-dir',
    value: '<path>',
    type: 'string',
    help: 'Hugging Face folder of the model, or its GGUF file; without --model-id it gives the model its name',
  },
  path: { flag: '--path', value: '<path>', type: 'string', help: 'folder of a model, or its .gguf file' },
  model: {
    flag: '--model',
    value: '<name>',
    type: 'string',
    help:
      'name of a model, or its folder or GGUF file ' +
      '(of mesh bench: the path of one that is timed instead of random weights)',
  },
  revision: {
    flag: '--revision',
    value: '<name>',
    type: 'string',
    default: 'main',
    help: 'branch, tag or commit of a repository',
  },
  maxDownload: {
    flag: '--max-download',
    value: '<size>',
    type: 'bytes',
    min: 0,
    max: 2 ** 60,
    help: 'fetch nothing where the files have more',
  },
  hub: {
    flag: '--hub',
    value: '<url>',
    type: 'string',
    env: 'HF_ENDPOINT',
    default: 'https://huggingface.co',
    help: 'where models come from',
  },
  hubToken: {
    flag: '--hub-token',
    value: '<token>',
    type: 'string',
    env: 'HF_TOKEN',
    help: 'token of the hub; better in the environment, on the command line every user of the machine sees it',
  },
  devices: {
    flag: '--devices',
    value: '<name=memory,...>',
    type: 'list',
    help: 'devices by the memory that each would lock: Anna=16GB,Ben=8GB (with a share: Ben=8GB*2)',
  },
  quant: {
    flag: '--quant',
    value: '<kind>',
    type: 'string',
    choices: ['f32', 'q8', 'q4', 'file'],
    default: 'q8',
    help: 'how weights are held; file: in the types that their file has, the default for GGUF',
  },
  share: {
    flag: '--share',
    value: '<weight>',
    type: 'number',
    default: 1,
    min: 0.001,
    max: 1000,
    help: 'weight of this device when columns are shared out',
  },
  noServe: { flag: '--no-serve', type: 'switch', help: 'take part in serving no model' },
  maxShards: {
    flag: '--max-shards',
    value: '<size>',
    type: 'bytes',
    env: 'MESHNET_MAX_SHARDS',
    min: 0,
    max: 2 ** 60,
    help:
      'disk that shards of models may take together; beyond it those that no ring uses go, ' +
      'the one unused for longest first (default: a tenth of the disk)',
  },
  clean: { flag: '--clean', type: 'switch', help: 'remove the shards that no ring of this device uses' },
  memory: { flag: '--memory', value: '<size>', type: 'bytes', min: 1e6, max: 2 ** 50, help: 'memory to commit' },
  cooldown: {
    flag: '--cooldown',
    value: '<time>',
    type: 'duration',
    min: 0,
    max: 365 * 86400e3,
    help: 'how long it stays committed after mesh unlock-resources (default: 24h, or as before)',
  },
} as const satisfies Record<string, OptionRecord>
