/** `mesh demo` as people run it, and as they interrupt it. TMPDIR decides where it puts its folder. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type ManagedProcess, startProcess } from '../agent/cli/managed-process.ts'
import { readAgentState } from '../agent/cli/session.ts'
import { openHome } from '../shared/home.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { eventually, mesh, within } from './support/processes.ts'

const demoFolders = (folder: string): string[] => readdirSync(folder).filter((name) => name.startsWith('mesh-demo-'))

const startDemo = (t: TestContext, folder: string): ManagedProcess => {
  const demo = startProcess({
    name: 'demo',
    program: 'mesh',
    args: ['demo', '--max-tokens', '500'],
    home: folder,
    env: { TMPDIR: folder },
    stopMs: 15_000,
  })
  afterwards(t, () => demo.stop())
  return demo
}

/** Process ids of both agents, once they run. */
const agentPids = (folder: string): Promise<number[]> =>
  eventually(30_000, 'both agents run', () => {
    const [demo] = demoFolders(folder)
    const states =
      demo === undefined ? [] : ['agent-1', 'agent-2'].map((name) => readAgentState(openHome(join(folder, demo, name))))
    const pids = states.flatMap((state) => (state === undefined ? [] : [state.pid]))
    return pids.length === 2 ? pids : undefined
  })

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

describe('demo', () => {
  it('three workers answer one prompt and nothing is left', { timeout: 300_000 }, async (t) => {
    const folder = temporaryFolder(t)
    const output = await mesh(['demo', '--workers', '3', '--max-tokens', '16', '--json'], {
      home: folder,
      env: { TMPDIR: folder },
      timeoutMs: 240_000,
    })
    const result = JSON.parse(output) as { text: string; tokens: number[]; workers: number; shard_bytes: number[] }
    assert.equal(result.workers, 3)
    assert.equal(result.tokens.length, 16)
    assert.equal(result.shard_bytes.length, 3)
    assert.ok(result.shard_bytes.every((bytes) => bytes > 0))
    assert.deepEqual(demoFolders(folder), [])
  })

  it('Ctrl-C in the middle ends every process and removes the folder', { timeout: 300_000 }, async (t) => {
    const folder = temporaryFolder(t)
    const demo = startDemo(t, folder)
    const pids = await agentPids(folder)
    demo.signal('SIGINT')
    assert.equal((await within(15_000, 'the demo ends', demo.ended)).code, 130)
    assert.deepEqual(
      pids.filter((pid) => !isGone(pid)),
      [],
    )
    assert.deepEqual(demoFolders(folder), [])
  })

  it('killed outright, it leaves no process', { timeout: 300_000 }, async (t) => {
    const folder = temporaryFolder(t)
    const demo = startDemo(t, folder)
    const pids = await agentPids(folder)
    demo.signal('SIGKILL')
    await eventually(10_000, 'the agents end', () => (pids.every(isGone) ? true : undefined))
  })

  it('an agent that dies ends the demo with its name and its last lines', { timeout: 300_000 }, async (t) => {
    const folder = temporaryFolder(t)
    const demo = startDemo(t, folder)
    const [first, second] = await agentPids(folder)
    process.kill(second, 'SIGKILL')
    assert.equal((await within(20_000, 'the demo ends', demo.ended)).code, 3)
    const said = demo.tail().join('\n')
    assert.match(said, /last lines of agent 2:\n {2}/)
    assert.match(said, /error: agent 2 ended \(SIGKILL\)/)
    assert.ok(isGone(first))
    assert.deepEqual(demoFolders(folder), [])
  })
})
