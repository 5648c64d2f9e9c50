/**
 * The disk of the control plane fills up while a real agent answers a prompt: the command says so, and the text comes.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { it } from 'node:test'
import Database from 'better-sqlite3'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'
import { createSmallDisk, smallDiskImpossible } from './support/small-disk.ts'

/** SQLite writes over its log from the beginning once it was copied: without this there may be room on a full disk. */
const emptyLog = (folder: string): void => {
  const database = new Database(join(folder, 'mesh.sqlite'))
  try {
    database.pragma('wal_checkpoint(TRUNCATE)')
  } finally {
    database.close()
  }
}

const prompt = ['inference', 'Once upon a time', '--max-tokens', '400', '--temperature', '1', '--seed', '3']

interface Begun {
  readonly answer: ReturnType<typeof runMesh>
  /** What was shown when the disk was known to be full. */
  readonly begun: string
  free(): void
}

/** A command that gets no time on a busy machine may show all of its text at once: then once more. */
const inTheMiddle = async (text: string, begin: () => Promise<Begun>): Promise<Begun> => {
  for (let attempt = 1; ; attempt++) {
    const running = await begin()
    if (text.length > running.begun.length + 1) return running
    assert.ok(attempt < 8, 'the disk was never full in the middle of a text')
    running.free()
    await running.answer
  }
}

it(
  'a full disk in the middle of a prompt: told while it waits, whole when there is room, and nothing to do by hand',
  { skip: smallDiskImpossible(), timeout: 180_000 },
  async (t) => {
    const root = temporaryFolder(t)
    const disk = createSmallDisk(t, 8)
    const home = join(root, 'device')
    const args = ['control-plane', '--port', '0', '--json', '--data', join(disk.folder, 'data')]
    const { process: plane, info } = await startReady(t, {
      name: 'control plane',
      program: 'mesh',
      args,
      home: join(root, 'services'),
    })
    const url = String(info.url)
    await mesh(['init', '--network-id', 'home', '--name', 'Only', '--control-plane', url], { home })
    await mesh(['pool-create', '--name', 'home'], { home })
    const { process: agent } = await startReady(t, {
      name: 'agent',
      program: 'mesh',
      args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1'],
      home,
    })
    await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
    const text = await mesh(prompt, { home })

    const running = await inTheMiddle(text, async () => {
      let [begun, isFull] = ['', false]
      const answer = runMesh(prompt, {
        home,
        timeoutMs: 240_000,
        onOutput: (part) => {
          begun += part
          if (isFull) return
          emptyLog(join(disk.folder, 'data'))
          disk.fill()
          isFull = true
        },
      })
      await eventually(
        30_000,
        'the disk is full and that is known',
        async () => (isFull && (await fetch(`${url}/ready`)).status === 503) || undefined,
      )
      return { answer, begun, free: () => disk.free() }
    })
    const refused = await runMesh(prompt, { home })
    assert.equal(refused.code, 5)
    assert.match(
      refused.stderr,
      /^error: the disk of the control plane is full: it can store nothing\nhint: free some space on the machine that runs the control plane/m,
    )
    assert.match(await mesh(['status'], { home }), /Only/)
    disk.free()
    const { code, stdout, stderr } = await running.answer
    assert.deepEqual([code, stdout], [0, text])
    assert.match(stderr, /^waiting: the disk of the control plane is full: it can store nothing$/m)
    assert.equal(await mesh(prompt, { home }), text)
    assert.ok(plane.running && agent.running)
  },
)
