/** The governor with real compute processes; only the machine around them is made up: four cores, and who uses them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { silentLogger } from '../../shared/log.ts'
import { ComputeUnits } from '../device/compute-units.ts'
import { type CpuSources, systemSources } from '../device/cpu-meter.ts'
import type { HostedBackend } from '../compute/hosted-backend.ts'
import { creators, openSubject, type Subject } from '../engine/test/contract-subject.ts'
import { wantedThreads } from '../engine/wanted-threads.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import { ThreadGovernor } from './thread-governor.ts'

/** Waits for it, with a deadline. */
const eventually = async (what: string, isSo: () => boolean): Promise<void> => {
  for (const until = performance.now() + 20_000; !isSo(); await pause(50)) assert.ok(performance.now() < until, what)
}

/** Four cores, whose owner uses `foreign` of them. */
const machine = (): CpuSources & { foreign: number } => {
  const started = performance.now()
  let [ticks, last] = [0, started]
  const sources = {
    ...systemSources,
    foreign: 0,
    usable: () => 4,
    read: (file: string): string | undefined => {
      if (file === '/proc/cpuinfo' || file.startsWith('/sys/fs/cgroup') || file === '/proc/self/status')
        return undefined
      if (file !== '/proc/stat') return systemSources.read(file)
      const now = performance.now()
      ticks += ((now - last) / 10) * sources.foreign
      last = now
      // what this process and the compute process use comes on top
      return `cpu0 ${Math.round(ticks) + own()} 0 0 0 0 0 0 0 0 0\n`
    },
  }
  return sources
}

const ticksOf = (pid: number | string): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(fields[11]) + Number(fields[12])
}
let computing: HostedBackend | undefined
const own = (): number => ticksOf('self') + (computing ? ticksOf(computing.pid) : 0)

describe(
  'compute threads follow the free cores',
  { skip: !('ggml' in creators) && 'ggml does not come for this platform' },
  () => {
    let subject: Subject
    let backend: HostedBackend
    let oneThread: number
    before(async () => {
      subject = openSubject(creators.ggml as typeof creators.onnx)
      backend = await subject.open() // one thread
      computing = backend
      oneThread = threads() - 1
    })
    after(async () => {
      computing = undefined
      await backend.close()
      subject.close()
    })
    const threads = (): number => readdirSync(`/proc/${backend.pid}/task`).length
    const compute = (): number => threads() - oneThread

    const open = (
      t: TestContext,
      asked = 0,
    ): {
      readonly governor: ThreadGovernor
      readonly units: ComputeUnits
      readonly sources: ReturnType<typeof machine>
    } => {
      const folder = mkdtempSync(join(tmpdir(), 'mesh-governor-'))
      const [units, sources] = [new ComputeUnits(join(folder, 'units')), machine()]
      const governor = new ThreadGovernor({ threads: asked, logger: silentLogger(), units, sources })
      t.after(() => {
        governor.stop()
        rmSync(folder, { recursive: true, force: true })
      })
      return { governor, units, sources }
    }

    /** A unit of another agent that says it has work for four threads. */
    const neighbour = async (t: TestContext, units: ComputeUnits): Promise<ChildProcess> => {
      const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
      t.after(() => child.kill('SIGKILL'))
      await once(child, 'spawn')
      units.add({ pid: child.pid as number, agent: child.pid as number, wanted: 4, groups: [] })
      return child
    }

    it('all that are free; half beside another unit, all again when that is gone', async (t) => {
      const { governor, units } = open(t)
      assert.equal(governor.threadsFor(9), 4)
      assert.equal(governor.threadsFor(1), 1)
      governor.govern(backend, 9, 1)
      await eventually('four threads', () => compute() === 4)
      assert.deepEqual(
        units.list().map(({ pid, agent, wanted }) => [pid, agent, wanted]),
        [[backend.pid, process.pid, 9]],
      )
      const other = await neighbour(t, units)
      await eventually('two threads', () => compute() === 2)
      assert.equal(governor.threadsFor(9), 1) // a third one
      other.kill('SIGKILL')
      await eventually('four threads again', () => compute() === 4)
    })

    it('an owner who works gets his cores, and they come back when he stops; what is governed no more stays as it is', async (t) => {
      const { governor, sources } = open(t)
      const end = governor.govern(backend, 9, compute())
      await eventually('four threads', () => compute() === 4)
      sources.foreign = 3.2
      await eventually('one thread', () => compute() === 1)
      sources.foreign = 0
      await eventually('four threads again', () => compute() === 4)
      end()
      sources.foreign = 4
      await pause(1200)
      assert.equal(compute(), 4, 'nobody looks any more')
    })

    it('threads that were asked for stay, and others leave them room', async (t) => {
      const { governor, units, sources } = open(t, 3)
      assert.equal(governor.threadsFor(1), 3)
      await backend.useThreads(3)
      governor.govern(backend, 9, 3)
      sources.foreign = 4
      await neighbour(t, units)
      await pause(1200)
      assert.equal(compute(), 3)
      assert.equal(units.list().find(({ pid }) => pid === backend.pid)?.wanted, 3)
      governor.stop()
      assert.ok(units.list().every(({ pid }) => pid !== backend.pid))
    })

    it('a process that was started again is told instead of the one that died', async (t) => {
      const { governor, units } = open(t)
      governor.govern(backend, 9, compute())
      await eventually('told', () => units.list().some(({ pid }) => pid === backend.pid))
      const dead = backend.pid
      computing = undefined
      await backend.crash()
      await backend.buffers(1) // starts it again
      computing = backend
      await eventually(
        'told anew',
        () => units.list().some(({ pid }) => pid === backend.pid) && units.list().every(({ pid }) => pid !== dead),
      )
    })
  },
)

describe('threads that a rank has work for', () => {
  const tiny = { layers: 8, hidden: 256, heads: 8, kvHeads: 4, headDim: 32, ffn: 704, vocab: 2048, context: 512 }
  const large = { layers: 22, hidden: 2048, heads: 32, kvHeads: 4, headDim: 64, ffn: 5632, vocab: 32000, context: 2048 }
  for (const [name, shape, ranks, want] of [
    ['the bundled model', tiny, 1, 1],
    ['TinyLlama', large, 1, 44],
    ['a quarter of TinyLlama', large, 4, 11],
  ] as const) {
    it(`${name}: ${want}`, () =>
      assert.equal(
        wantedThreads(
          shape,
          planShards(
            shape,
            Array.from({ length: ranks }, () => 1),
          )[0],
        ),
        want,
      ))
  }
})
