/**
 * What spot checks cost, and what they are off by.
 *
 * `node bench/spot-checks.ts [--shape llama-160m] [--rounds 5] [--tokens 220] [--backend auto]`: a ring of two over
 * random weights of that shape, 4-bit; in every round a prompt with checks and one without, decode of the one over that
 * of the other. Between them nothing is cut: halves are made anew while a ring is idle, or in 0.4 % of its time.
 *
 * `node bench/spot-checks.ts --honest 100000`: errors of single checks of honest ranks, over rings of ggml, of onnx and
 * of both, all quantisations, random weights and (one in twenty) the bundled model; then of ranks that are wrong by 1 % of the norm.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { grossError, tolerances } from '../agent/checks/compare.ts'
import { noise } from '../agent/checks/test/checked-ring.ts'
import { type HonestCase, honestCases, measureRing } from '../agent/checks/test/measure.ts'
import type { BackendChoice } from '../agent/compute/choose-backend.ts'
import { writeRandomModel } from '../agent/model/random-model.ts'
import type { InferenceOrder, InferenceSettings, RunResult } from './inference-orders.ts'
import { shapes } from './shapes.ts'
import { type Ready, startRanks } from './ranks.ts'
import { show, spread } from './spread.ts'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-160m' },
    rounds: { type: 'string', default: '5' },
    tokens: { type: 'string', default: '220' },
    backend: { type: 'string', default: 'auto' },
    honest: { type: 'string' },
  },
})

const print = (line: string): void => void process.stdout.write(`${line}\n`)

const measureCost = async (folder: string): Promise<void> => {
  const shape = shapes[values.shape]
  if (!shape) throw new RangeError(`--shape wants one of ${Object.keys(shapes).join(', ')}, got ${values.shape}`)
  const modelFolder = join(folder, 'model')
  writeRandomModel(modelFolder, { shape, tied: false, dtype: 'BF16', seed: 1 })
  const settings: InferenceSettings = {
    shape,
    modelFolder,
    quant: 'q4',
    backend: values.backend as BackendChoice,
    threads: 1,
    spinMs: 0,
    carrier: 'auto',
    spotChecks: true,
    collective: { algorithm: 'auto', wire: 'auto' },
  }
  const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))
  const ranks = await startRanks<Ready, InferenceSettings, InferenceOrder>({
    program,
    workers: 2,
    settings,
    shape,
    quant: 'q4',
  })
  const tokens = Number(values.tokens)
  try {
    const decode = async (
      on: boolean,
    ): Promise<{ readonly rate: number; readonly cpuMs: number; readonly checkMs: number }> => {
      const [before] = await ranks.askAll<{ checkMs: number }>({ type: 'checks', on }, 'checks-set')
      const {
        timings,
        decode: { cpu },
      } = await ranks.ask<RunResult>(0, { type: 'run', promptTokens: 16, tokens }, 'result')
      const [after] = await ranks.askAll<{ checkMs: number }>({ type: 'checks', on: false }, 'checks-set')
      return {
        rate: timings.decodeTokensPerSecond,
        cpuMs: cpu.agent + cpu.compute,
        checkMs: after.checkMs - before.checkMs,
      }
    }
    await decode(true) // warms up
    const ratios: number[] = []
    const costs: number[] = []
    for (let round = 0; round < Number(values.rounds); round++) {
      // in turn, so that neither is always the first
      const [first, second] = [await decode(round % 2 === 0), await decode(round % 2 !== 0)]
      const [checked, plain] = round % 2 === 0 ? [first, second] : [second, first]
      ratios.push(checked.rate / plain.rate)
      costs.push(checked.cpuMs / plain.cpuMs)
      print(
        `round ${round + 1}: ${checked.rate.toFixed(1)} tok/s and ${(checked.cpuMs / tokens).toFixed(2)} ms of processor a token with checks (${(checked.checkMs / tokens).toFixed(3)} ms of it checks), ${plain.rate.toFixed(1)} and ${(plain.cpuMs / tokens).toFixed(2)} without`,
      )
    }
    print(
      `${values.shape}, q4, 2 ranks, ${tokens} tokens a prompt: decode with checks over without ${show(spread(ratios), 3)}, processor of rank 0 ${show(spread(costs), 3)}`,
    )
  } finally {
    await ranks.stop()
  }
}

const summary = (errors: readonly number[], tolerance: number): string => {
  const sorted = Float64Array.from(errors).toSorted()
  const at = (part: number): string =>
    sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))].toExponential(1)
  return `${errors.length} checks: least ${at(0)}, median ${at(0.5)}, 99.9 % ${at(0.999)}, most ${at(1)}; ${errors.filter((error) => error > tolerance).length} above ${tolerance}, ${errors.filter((error) => error > grossError).length} above ${grossError}`
}

const measureCase = async (one: HonestCase, checks: number, folder: string): Promise<number[]> => {
  const errors: number[] = []
  // another model every so often
  for (let seed = 1; errors.length < checks; seed++) {
    const part = one.bundled ? checks : Math.min(checks - errors.length, 2000)
    errors.push(...(await measureRing(one, { folder: join(folder, `${seed}`), seed, checks: part })).errors)
    rmSync(join(folder, `${seed}`), { recursive: true, force: true })
  }
  return errors
}

const measureErrors = async (folder: string, total: number): Promise<void> => {
  const large = honestCases.filter((one) => one.bundled).length
  const eachLarge = Math.ceil(total / 20 / large)
  const each = Math.ceil((total - eachLarge * large) / (honestCases.length - large))
  let [checks, wrong] = [0, 0]
  for (const one of honestCases.toSorted((a, b) => Number(a.bundled) - Number(b.bundled))) {
    const errors = await measureCase(one, one.bundled ? eachLarge : each, folder)
    checks += errors.length
    wrong += errors.filter((error) => error > tolerances[one.quant]).length
    print(`honest, ${one.name}: ${summary(errors, tolerances[one.quant])}`)
  }
  print(`honest, all: ${checks} checks, ${wrong} above the tolerance`)
  for (const one of honestCases.filter(({ bundled }) => !bundled)) {
    const { errors } = await measureRing(one, {
      folder,
      seed: 99,
      checks: Math.min(each, 300),
      lie: noise(0.01, Math.random),
    })
    print(`wrong by 1 %, ${one.name}: ${summary(errors, tolerances[one.quant])}`)
  }
}

const folder = mkdtempSync(join(tmpdir(), 'mesh-spot-checks-'))
try {
  await (values.honest === undefined ? measureCost(folder) : measureErrors(folder, Number(values.honest)))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
