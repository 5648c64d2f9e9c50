/**
 * What follows free cores is worth: `node bench/free-cores.ts [--shape NAME] [--rounds N]`. Beside each other, in every
 * round: two units with default threads, with one thread each, and with all cores each; and one unit with default
 * threads and with all cores, on the machine as it is and beside one busy loop a core. Quiet machines only.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { usableCores } from '../agent/device/cpu-meter.ts'
import type { InferenceOrder, InferenceSettings, RunResult } from './inference-orders.ts'
import { shapes } from './shapes.ts'
import { type Ready, startRanks } from './ranks.ts'
import { show, spread } from './spread.ts'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-160m' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
  },
})
const shape = shapes[values.shape as keyof typeof shapes]
if (!shape) throw new RangeError(`--shape wants one of ${Object.keys(shapes).join(', ')}, got ${values.shape}`)
const cores = usableCores()
const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))
const quant = 'q4'

/** Tokens a second of runs that fill the time; the first run is part of it, so that what follows late counts. */
type Decode = () => Promise<number>

const withRing = async (workers: number, threads: number, use: (decode: Decode) => Promise<void>): Promise<void> => {
  const settings: InferenceSettings = {
    shape,
    shapeName: values.shape,
    modelFolder: undefined,
    quant,
    backend: 'ggml',
    threads,
    spinMs: 0,
    collective: { algorithm: 'auto', wire: 'auto' },
    carrier: 'auto',
  }
  const ranks = await startRanks<Ready, InferenceSettings, InferenceOrder>({ program, workers, settings, shape, quant })
  try {
    await use(async () => {
      const [order, started] = [{ type: 'run', promptTokens: 16, tokens: 32 } as const, performance.now()]
      const rates: number[] = []
      while (performance.now() - started < Number(values.seconds) * 1000)
        rates.push((await ranks.ask<RunResult>(0, order, 'result')).timings.decodeTokensPerSecond)
      return rates.length / rates.reduce((sum, rate) => sum + 1 / rate, 0)
    })
  } finally {
    await ranks.stop()
  }
}

/** An owner who uses every core. */
const withLoops = async <T>(work: () => Promise<T>): Promise<T> => {
  const loops: ChildProcess[] = Array.from({ length: cores }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  try {
    return await work()
  } finally {
    for (const loop of loops) loop.kill('SIGKILL')
  }
}

const figures = new Map<string, number[]>()
const note = (name: string, rate: number): void => {
  figures.set(name, [...(figures.get(name) ?? []), rate])
  process.stdout.write(`${name.padEnd(44)} ${rate.toFixed(1)} tok/s\n`)
}
const round = async (): Promise<void> => {
  for (const [name, threads] of [
    ['default threads', 0],
    ['1 thread', 1],
    ['all cores', cores],
  ] as const) {
    await withRing(2, threads, async (decode) => {
      await decode() // warms up
      note(`2 units, ${name} each`, await decode())
    })
  }
  for (const [name, threads] of [
    ['default threads', 0],
    ['all cores', cores],
  ] as const) {
    await withRing(1, threads, async (decode) => {
      await decode()
      note(`1 unit, ${name}`, await decode())
      await withLoops(async () => note(`1 unit, ${name}, ${cores} busy loops`, await decode()))
      await decode() // the loops are over
      note(`1 unit, ${name}, after the loops`, await decode())
    })
  }
}

const ratio = (name: string, over: string): void => {
  const of = (which: string): number[] => figures.get(which) ?? []
  process.stdout.write(`${name} / ${over}: ${show(spread(of(name).map((rate, index) => rate / of(over)[index])), 2)}\n`)
}

process.stdout.write(`${values.shape}, ${quant}, ${cores} cores\n`)
for (let count = 0; count < Number(values.rounds); count++) await round()
ratio('2 units, default threads each', '2 units, 1 thread each')
ratio('2 units, all cores each', '2 units, 1 thread each')
ratio('1 unit, default threads', '1 unit, all cores')
ratio('1 unit, default threads, after the loops', '1 unit, all cores, after the loops')
ratio(`1 unit, default threads, ${cores} busy loops`, '1 unit, default threads')
ratio(`1 unit, all cores, ${cores} busy loops`, '1 unit, all cores')
