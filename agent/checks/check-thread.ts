/** Entry of the thread that checks: cuts half layers from the model, and compares with them what ranks sent. */
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { problemOf } from '../../shared/errors.ts'
import { openSource } from '../model/model-source.ts'
import type { CheckThreadInput, FromThread, ToThread } from './check-messages.ts'
import { compare } from './compare.ts'
import { HalfFile } from './half-file.ts'

/** Milliseconds of processor that a piece of a matrix takes. */
const typicalPieceMs = 40
/** How soon a thread that waits looks whether the ring still computes. */
const lookMs = 100
const lowestPriority = 19

const { modelFolder, digests, spec, quant, folder, cuttingShare, busy } = workerData as CheckThreadInput
const ringIsBusy = new Int32Array(busy)
const roles = openSource(modelFolder).roles(digests)
const halves = new Map<number, HalfFile>()
/** Gone before they were cut. */
const dropped = new Set<number>()

const say = (message: FromThread): void => parentPort?.postMessage(message)

/** Linux has a priority for each thread; elsewhere this one has that of the process. */
const yieldToOthers = (): void => {
  if (process.platform !== 'linux') return
  try {
    setPriority(Number(readlinkSync('/proc/thread-self').split('/').at(-1)), lowestPriority)
  } catch {
    // a sandbox may hide it
  }
}

/** Of this thread: others may keep it waiting. */
const processorMs = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** As long as the share of the time asks for after work of so many milliseconds, or until the ring is idle. */
const restAfter = async (tookMs: number): Promise<void> => {
  const until = performance.now() + tookMs * (1 / cuttingShare - 1)
  while (Atomics.load(ringIsBusy, 0) === 1 && performance.now() < until) await pause(lookMs)
}

const cut = async ({ half, layer, ffn, block, inHaste }: Extract<ToThread, { type: 'cut' }>): Promise<void> => {
  if (!inHaste) await restAfter(typicalPieceMs) // a ring is soon idle again: a short prompt pays nothing
  if (dropped.has(half)) return
  const file = new HalfFile(roles, { spec, layer, ffn, quant, block }, folder)
  let started = processorMs()
  for (const _ of file.cut()) {
    if (inHaste) await pause(0)
    else await restAfter(processorMs() - started)
    if (dropped.has(half)) return file.close()
    started = processorMs()
  }
  halves.set(half, file)
  say({ type: 'cut', half })
}

const check = ({ check: number, half, x, part, wire, kinds }: Extract<ToThread, { type: 'check' }>): void => {
  const file = halves.get(half)
  if (!file) return say({ type: 'gone', check: number })
  const started = processorMs()
  const { kind, error } = compare(file, { x, part, wire }, { kinds, epsilon: spec.norm.epsilon })
  say({ type: 'checked', check: number, kind, error, tookMs: processorMs() - started })
}

const drop = (half: number): void => {
  dropped.add(half)
  halves.get(half)?.close()
  halves.delete(half)
}

/** Halves are cut one after another; checks do not wait for them. */
let cutting = Promise.resolve()

yieldToOthers()
parentPort?.on('message', (message: ToThread) => {
  if (message.type === 'cut') {
    cutting = cutting
      .then(() => cut(message))
      .catch((error: unknown) => say({ type: 'failed', half: message.half, problem: problemOf(error) }))
  } else if (message.type === 'check') {
    try {
      check(message)
    } catch (error) {
      say({ type: 'failed', half: message.half, problem: problemOf(error) })
    }
  } else drop(message.half)
})
