/**
 * What every backend must do, whatever computes: one check per name, each on a backend of its own. The backend holds a
 * whole small model; logits come through the engine that runs in production.
 */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { childrenOf } from '../../../test/support/leftovers.ts'
import { soloCollective } from '../../collective/collective.ts'
import { referenceLogits } from './reference.ts'
import { type Check, engineOver, otherRanks, text, withBackend } from './contract-subject.ts'
import { readReference, relativeError } from './reference-model.ts'

/** Largest relative error of f32 against the float64 reference. */
const bound = 2e-4

const near = (got: Float32Array, want: ArrayLike<number>, what: string): void => {
  const error = relativeError(got, want)
  assert.ok(error < bound, `${what}: relative error ${error}`)
}

/** Of this process: what it started, and its own. */
const children = (): number[] => childrenOf(process.pid)
const threads = (pid: number | 'self' = 'self'): number => readdirSync(`/proc/${pid}/task`).length

export const backendContract: Readonly<Record<string, Check>> = {
  'loads, says what it is, and tells how far it is': async (subject) => {
    const fractions: number[] = []
    const backend = await subject.open((fraction) => fractions.push(fraction))
    try {
      assert.match(backend.name, /^\w+$/)
      assert.match(backend.description, /\w/)
      assert.deepEqual(
        fractions,
        fractions.toSorted((a, b) => a - b),
      )
      assert.equal(fractions.at(-1), 1)
    } finally {
      await backend.close()
    }
  },

  'a step of one row equals the reference, half layer by half layer and all at once': withBackend(
    async (subject, backend) => {
      const tokens = text(3, 1)
      const want = referenceLogits(readReference(subject.model, 'f32'), tokens)
      for (const collective of [otherRanks, soloCollective]) {
        const { engine, last } = engineOver(subject, backend, collective)
        for (const [position, token] of tokens.entries())
          near(
            (await last({ slot: 0, position, tokens: [token] }))[0],
            want[position],
            `${collective.name}, position ${position}`,
          )
        await engine.release(0)
      }
    },
  ),

  'a prompt in chunks equals the prompt at once': withBackend(async (subject, backend) => {
    const { last } = engineOver(subject, backend)
    const tokens = text(330, 2)
    const [want] = await last({ slot: 0, position: 0, tokens })
    for (const [slot, sizes] of [
      [1, [100, 7, 180, 1, 42]],
      [2, [23, 24, 257, 26]],
    ] as const) {
      let position = 0
      let got = want
      for (const size of sizes) {
        ;[got] = await last({ slot, position, tokens: tokens.slice(position, position + size) })
        position += size
      }
      assert.equal(position, tokens.length)
      near(got, want, `chunks of ${sizes.join(', ')}`)
    }
  }),

  'sequences of different lengths in one step equal each one alone': withBackend(async (subject, backend) => {
    const { engine, last } = engineOver(subject, backend)
    const texts = [text(260, 3), text(1, 4), text(40, 5), text(9, 6)]
    const alone: Float32Array[][] = []
    for (const tokens of texts) {
      const [first] = await last({ slot: 9, position: 0, tokens })
      const [second] = await last({ slot: 9, position: tokens.length, tokens: [5] })
      alone.push([first, second])
      await engine.release(9)
    }
    const first = await last(...texts.map((tokens, slot) => ({ slot, position: 0, tokens })))
    // a new prompt comes in while the others write
    const second = await last(...texts.map((tokens, slot) => ({ slot, position: tokens.length, tokens: [5] })), {
      slot: 30,
      position: 0,
      tokens: texts[2],
    })
    for (const slot of texts.keys()) {
      near(first[slot], alone[slot][0], `prompt ${slot}`)
      near(second[slot], alone[slot][1], `token after prompt ${slot}`)
    }
    near(second[texts.length], alone[2][0], 'prompt beside written tokens')
  }),

  'a sequence that was freed can be used again, and is not remembered': withBackend(async (subject, backend) => {
    const { engine, last } = engineOver(subject, backend)
    const tokens = text(30, 7)
    const [want] = await last({ slot: 1, position: 0, tokens })
    await last({ slot: 0, position: 0, tokens: text(300, 8) })
    await engine.release(0)
    near((await last({ slot: 0, position: 0, tokens }))[0], want, 'the second use')
    await engine.release(0)
    await assert.rejects(last({ slot: 0, position: tokens.length, tokens: [1] }), {
      code: 'backendFailed',
      message: /sequence 0/,
    })
    near(
      (await last({ slot: 1, position: 29, tokens: [tokens[29]] }))[0],
      want,
      'the other sequence, its last token again',
    )
    await backend.release('all')
    await assert.rejects(last({ slot: 1, position: tokens.length, tokens: [1] }), {
      code: 'backendFailed',
      message: /sequence 1/,
    })
  }),

  'the whole context can be used, one token more is refused by name': withBackend(async (subject, backend) => {
    const { last } = engineOver(subject, backend)
    const { context } = subject.model.config.shape
    await last({ slot: 0, position: 0, tokens: text(context - 1, 9) })
    const [logits] = await last({ slot: 0, position: context - 1, tokens: [3] })
    assert.ok(logits.every(Number.isFinite))
    await assert.rejects(last({ slot: 0, position: context, tokens: [3] }), {
      code: 'promptTooLong',
      message: new RegExp(`${context + 1} tokens, the context holds ${context}`),
    })
  }),

  'more rows than there is memory for are refused, and the backend goes on': withBackend(async (subject, backend) => {
    const { last } = engineOver(subject, backend)
    const piece = { slot: 0, position: 0, tokens: text(4, 10) }
    const [want] = await last(piece)
    const rows = 50_000
    await assert.rejects(backend.attention(0, [{ slot: 1, start: 0, count: rows, position: 0 }]), {
      code: 'backendFailed',
      message: /rows|fit/,
    })
    await assert.rejects(backend.head(rows), { code: 'backendFailed', message: /rows|fit/ })
    near((await last({ ...piece, slot: 2 }))[0], want, 'after the refusal')
  }),

  'threads can be changed between steps, or stay as they are: the numbers do not change, and a process that died comes back with them':
    withBackend(async (subject, backend) => {
      const { engine, last } = engineOver(subject, backend)
      const tokens = text(40, 12)
      const [want] = await last({ slot: 0, position: 0, tokens })
      const first = threads(backend.pid)
      for (const [slot, count] of [3, 2, 3, 1].entries()) {
        await backend.useThreads(count)
        near((await last({ slot: slot + 1, position: 0, tokens }))[0], want, `${count} threads`)
        assert.equal(threads(backend.pid), backend.hasFixedThreads ? first : first + count - 1)
      }
      await backend.useThreads(2)
      if (backend.hasFixedThreads) return
      const { pid } = backend
      await backend.crash()
      await engine.release(0)
      near((await last({ slot: 9, position: 0, tokens }))[0], want, 'after a crash')
      assert.notEqual(backend.pid, pid)
      assert.equal(threads(backend.pid), first + 1)
    }),

  'closing frees threads and processes; what is closed refuses work': async (subject) => {
    const before = { children: children().length, threads: threads() }
    const backend = await subject.open()
    const { last } = engineOver(subject, backend)
    await last({ slot: 0, position: 0, tokens: text(4, 11) })
    assert.ok(
      children().length > before.children || threads() > before.threads,
      'something computes beside this thread',
    )
    await backend.close()
    await backend.close()
    await assert.rejects(last({ slot: 0, position: 4, tokens: [1] }), { code: 'backendFailed', message: /closed/ })
    await assert.rejects(backend.head(1), { code: 'backendFailed', message: /closed/ })
    // the system takes a moment to end a thread
    for (let tries = 0; threads() > before.threads && tries < 20; tries++) await pause(50)
    assert.deepEqual({ children: children().length, threads: threads() }, before)
  },
}
