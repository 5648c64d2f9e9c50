/**
 * Runs test files in the order in which they are given, a few at a time, and says before the counts which took longest.
 * A program of its own, so that `test/run.ts` can end it when it hangs: `node test/support/run-files.ts FILE...`
 */
import { availableParallelism } from 'node:os'
import { relative, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { run } from 'node:test'
import { spec, type TestEvent } from 'node:test/reporters'

/** Files that are told. */
const longest = 15
/** With fewer nobody asks. */
const leastFiles = 20

/** A line as the runner's own counts: `ℹ 46 s test/lan.test.ts`. */
const line = (message: string): TestEvent => ({ type: 'test:diagnostic', data: { message, nesting: 0, level: 'info' } })

const durationLines = (seconds: ReadonlyMap<string, number>): TestEvent[] =>
  [...seconds]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, longest)
    .map(([file, duration]) => line(`${duration.toFixed(0).padStart(4)} s ${relative(process.cwd(), file)}`))

/** Adds what each file took, once all have ended: the counts follow. */
async function* withDurations(source: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent, void> {
  const seconds = new Map<string, number>()
  let isTold = false
  for await (const event of source) {
    if (event.type === 'test:summary' && event.data.file !== undefined)
      seconds.set(event.data.file, event.data.duration_ms / 1000)
    const isCount = event.type === 'test:diagnostic' && event.data.nesting === 0 && /^tests \d/.test(event.data.message)
    if (isCount && !isTold && seconds.size >= leastFiles) {
      isTold = true
      yield* durationLines(seconds)
    }
    yield event
  }
}

const files = process.argv.slice(2).map((file) => resolve(file))
// one more than there are cores, since most wait for what others do; tests of whole rings start several processes each
const concurrency = Math.min(4, availableParallelism() + 1)
const events = run({ files, concurrency, timeout: 300_000 })
events.on('test:fail', () => (process.exitCode = 1))
Readable.from(withDurations(events as unknown as AsyncIterable<TestEvent>))
  .pipe(new spec())
  .pipe(process.stdout)
