/** `mesh bench`: times a ring of local processes, or its all-reduces alone. See METHOD.md. */
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { CarrierChoice } from '../agent/rank/open-carrier.ts'
import type { CollectiveChoice } from '../agent/collective/chooser.ts'
import type { WireChoice } from '../agent/collective/wire-types.ts'
import type { BackendChoice } from '../agent/compute/choose-backend.ts'
import { isGguf } from '../agent/model/gguf/name.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { MeshError } from '../shared/errors.ts'
import { jsonWanted, printFatal } from '../shared/fatal.ts'
import { parseProgram } from '../shared/flags.ts'
import { type OptionName, optionRecord } from '../shared/options.ts'
import { benchModelOptions, type ProgramValues } from '../shared/program-options.ts'
import { watchOutput } from '../shared/output-watch.ts'
import { jsonLine } from '../shared/printed.ts'
import { formatBytes } from '../shared/words.ts'
import { CollectivesBench, InferenceBench } from '../shared/schema/bench.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import { benchCollectives } from './collectives.ts'
import { benchInference } from './inference.ts'
import type { Room } from './inference-orders.ts'
import { printCollectives } from './print-collectives.ts'
import { printInference } from './print-inference.ts'
import { modelOfShape } from './shapes.ts'
import type { LinkShape } from './shaped-network.ts'
import type { TypesName } from './weight-types.ts'

type Options = ProgramValues<'bench'>

const usage = (problem: string): never => {
  throw new MeshError('usage', { problem })
}

/** @throws MeshError `usage` for weights that cannot be had so */
const checkWeights = ({ model, shape, types, quant, compare }: Partial<Record<string, unknown>>): void => {
  const isFile = typeof model === 'string' && isGguf(model)
  if (model !== undefined && shape !== undefined) usage('--model brings its own shape: leave out --shape')
  if (model !== undefined && types !== undefined) usage('--model brings its own types: leave out --types')
  if (types !== undefined && quant !== undefined && quant !== 'file')
    usage('--types are those of a file, which --quant would change: leave out --quant')
  if (model === undefined && quant === 'file' && types === undefined)
    usage('--quant file wants a file: say --types for random weights, or --model FILE.gguf')
  if (compare === undefined || model === undefined) return
  if (!isFile) usage('--compare wants weights that llama.cpp reads: give a --shape, or a GGUF file as --model')
  if (quant !== undefined && quant !== 'file') usage('--compare wants the same weights for both: leave out --quant')
}

/** @throws MeshError `usage` for a flag that would be without effect */
const checkTogether = (given: Partial<Record<string, unknown>>): void => {
  const idle =
    given.collectives === true ? benchModelOptions.find((name: OptionName) => given[name] !== undefined) : undefined
  if (idle) usage(`${optionRecord(idle).flag} is of no use with --collectives: no model runs`)
  checkWeights(given)
  if (given.compare !== undefined && (given.rtt !== undefined || given.mbit !== undefined))
    usage('--compare wants links as they are: leave out --rtt and --mbit')
}

/** @throws MeshError of a model folder | `promptTooLong` */
const shapeOf = ({ model: folder, shape: name, promptTokens, contexts = [], tokens }: Options): ModelShape => {
  const open = folder === undefined ? undefined : openModel(folder, 'bench')
  const shape = open?.config.shape ?? modelOfShape(name).shape
  open?.close()
  const longest = Math.max(promptTokens, ...contexts) + tokens
  if (longest > shape.context) throw new MeshError('promptTooLong', { tokens: longest, context: shape.context })
  return shape
}

const linkOf = ({ rtt, mbit }: Options): LinkShape | undefined =>
  rtt === 0 && mbit === 0 ? undefined : { rttMs: rtt, mbit }

const runCollectives = async (values: Options): Promise<void> => {
  const { workers, collective, runs, rtt, mbit, json } = values
  if (workers < 2) throw new MeshError('usage', { problem: '--collectives wants --workers 2 or more' })
  const report = await benchCollectives({
    workers,
    runs,
    algorithm: collective as CollectiveChoice,
    carrier: values.carrier as CarrierChoice,
    link: linkOf(values),
  })
  process.stdout.write(
    json
      ? jsonLine(CollectivesBench, { workers, collective, runs, rtt, mbit, ...report })
      : `${printCollectives(report)}\n`,
  )
}

const tellRoom = ({ disk, memory }: Room): void =>
  void process.stderr.write(`weights: ${formatBytes(disk)} in ${tmpdir()}, ${formatBytes(memory)} of memory\n`)

const runInference = async (values: Options): Promise<void> => {
  const {
    model,
    workers,
    threads,
    spin,
    backend,
    quant,
    types,
    collective,
    wire,
    promptTokens,
    tokens,
    contexts = [],
    sequences = [],
    runs,
    compare,
    rtt,
    mbit,
    json,
  } = values
  if (compare !== undefined && threads === 0)
    throw new MeshError('usage', {
      problem: '--compare wants the same threads for both: give a number of --threads above 0',
    })
  const shape = shapeOf(values)
  const report = await benchInference({
    workers,
    threads,
    spinMs: spin,
    promptTokens,
    tokens,
    contexts,
    sequences,
    runs,
    shape,
    ...(model === undefined && { shapeName: values.shape }),
    ...(types !== undefined && { types: types as TypesName }),
    modelFolder: model && resolve(model),
    backend: backend as BackendChoice,
    quant: quant as Quant,
    collective: { algorithm: collective as CollectiveChoice, wire: wire as WireChoice },
    carrier: values.carrier as CarrierChoice,
    compare: compare !== undefined,
    link: linkOf(values),
    onRoom: json ? () => {} : tellRoom,
  })
  const title = { model, shape: values.shape, workers, threads, quant, types, collective, wire }
  const counts = { promptTokens, tokens, runs, rtt, mbit }
  const answer = { ...title, ...counts, shape: model === undefined ? values.shape : undefined, ...report }
  process.stdout.write(json ? jsonLine(InferenceBench, answer) : `${printInference({ ...title, ...counts }, report)}\n`)
}

watchOutput()
try {
  const values = parseProgram('bench', parseArgs, {
    defaults: (given) => {
      checkTogether(given)
      const isFile = given.types !== undefined || isGguf(String(given.model ?? ''))
      return { ...(given.collectives === true && { workers: '4' }), ...(isFile && { quant: 'file' }) }
    },
  })
  await (values.collectives ? runCollectives(values) : runInference(values))
} catch (error) {
  process.exitCode = printFatal(MeshError.from(error).withHelp('bench'), { json: jsonWanted() })
}
