import { resolve } from 'node:path'
import { MeshError, problemOf } from '../../../shared/errors.ts'
import { isModelId } from '../../../shared/ids.ts'
import { usableBytes } from '../../../shared/schema/lock.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import { parseBytes } from '../../../shared/units.ts'
import { formatBytes } from '../../../shared/words.ts'
import { measureMemory } from '../../device/memory.ts'
import { isPath, ModelPlan, type PlannedDevice, planModel } from '../../library/plan.ts'
import { placeOf } from '../../library/library.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { weightsText } from '../model-view.ts'
import { fields, rangesText, table } from '../render.ts'
import { bundledFolder } from '../ring-join.ts'
import { usualQuant } from '../usual-quant.ts'

const wrong = (text: string, problem: string): MeshError =>
  new MeshError('usage', {
    problem: `--devices wants NAME=MEMORY, as in Anna=16GB,Ben=8GB (a share behind: Ben=8GB*2); ${problem} "${text}"`,
  })

/** `Anna=16GB` or `Anna=16GB*2`: the memory that it would lock. @throws MeshError `usage` */
export const plannedDevice = (text: string): PlannedDevice => {
  const [, name, size, share = '1'] = /^([^=]+)=([^*]+)(?:\*(.+))?$/.exec(text) ?? []
  if (name === undefined) throw wrong(text, 'got')
  const weight = Number(share)
  if (!(weight >= 0.001 && weight <= 1000)) throw wrong(text, 'the share is 0.001 to 1000, got')
  try {
    const memory = parseBytes(size)
    if (!(memory > 0 && memory <= 2 ** 50)) throw new RangeError('the memory is more than nothing')
    return { name: name.trim(), roomBytes: usableBytes(memory), share: weight }
  } catch (error) {
    throw wrong(text, `${problemOf(error)}, got`)
  }
}

/** @throws MeshError `usage` */
const devicesOf = (texts: readonly string[]): PlannedDevice[] => {
  if (texts.length === 0)
    return [{ name: 'this device', roomBytes: usableBytes(measureMemory().availableBytes), share: 1 }]
  const devices = texts.flatMap((text) => text.split(',')).map(plannedDevice)
  const twice = devices.find(({ name }, index) => devices.findIndex((other) => other.name === name) !== index)
  if (twice) throw wrong(twice.name, 'twice there is')
  return devices
}

const placeOfModel = async ({ home }: CommandContext, model: string): Promise<string> => {
  const [{ resolveModel }, { modelPlace }] = await Promise.all([
    import('../../model/model-folder.ts'),
    import('../../model/folder-diagnosis.ts'),
  ])
  if (isModelId(model)) {
    const known = placeOf(home, model)
    if (known !== undefined) return known
    if (!isPath(model)) return resolveModel(model, { home, bundledFolder })
  }
  return modelPlace(resolve(model))
}

const planText = (plan: ModelPlan, quant: Quant, columns: number): string => {
  const rows: [string, string][] = [
    ['model', `${plan.family}, ${weightsText(plan.weights)} weights, ${formatBytes(plan.weightBytes)} of files`],
    ['held as', quant],
  ]
  const { shortage } = plan
  if (shortage)
    return fields(
      [
        ...rows,
        [
          'fits',
          `no: ${shortage.name} lacks ${formatBytes(shortage.lacksBytes)} of ${formatBytes(shortage.needsBytes)}`,
        ],
        ['next', 'more memory or more devices; --quant q4 needs least'],
      ],
      columns,
    )
  const devices = plan.devices.map(({ name, bytes, roomBytes, fetchBytes }) => [
    name,
    formatBytes(bytes),
    formatBytes(roomBytes),
    formatBytes(fetchBytes),
  ])
  return (
    fields([...rows, ['fits', `yes, with ${plan.context} of ${plan.modelContext} tokens of context`]], columns) +
    table(['device', 'needs', 'has room', 'own part of files'], devices, {
      columns,
      under: plan.devices.map(({ ranges }) => [`holds ${rangesText(ranges)}`]),
    })
  )
}

export const modelPlan = defineCommand({
  name: 'model-plan',
  summary: 'what each device would hold of a model, and whether it fits, from headers alone',
  details:
    'A model of the library, a folder or a .gguf file. --devices describes devices by the memory that each would ' +
    'lock, of which 7 % stay free; without it the plan is for this device and its free memory. ' +
    'Nothing of the weights is read, nothing is changed, and no pool is needed. ' +
    'The name or path may be given without its flag: mesh model-plan NAME.',
  needs: ['agent'],
  options: ['model', 'devices', 'quant', 'json'],
  required: ['model'],
  bare: 'model',
  examples: [
    'mesh model-plan Qwen/Qwen3-0.6B',
    'mesh model-plan ~/models/Llama-3.3-70B --devices Anna=64GB,Ben=24GB,Cleo=16GB*2 --quant q4',
  ],
  json: ModelPlan,
  run: async (context, values) => {
    const devices = devicesOf(values.devices)
    const path = await placeOfModel(context, values.model)
    const quant = context.isGiven('quant') ? (values.quant as Quant) : usualQuant(path, values.quant as Quant)
    const plan = planModel(path, { quant, devices })
    if (values.json) context.printJson(plan)
    else context.stdout.write(planText(plan, quant, context.stdout.columns))
  },
})
