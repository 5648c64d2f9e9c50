/**
 * Fuzzing for as long as one likes:
 *
 *   npm run fuzz -- --cases 1000000                     all of them, about two hours on one core
 *   npm run fuzz -- --only 'route ' --cases 50000       targets whose names begin so
 *   npm run fuzz -- --only invites --seed 7             again what failed
 *   npm run fuzz -- --cases 1000000 --minutes 9         as far as it comes in that time
 */
import { parseArgs } from 'node:util'
import { openTargets, sharesOf } from './all-targets.ts'
import { Fault, heldBytes, mostKeptBytes, runCases } from './run-cases.ts'

/** Cases of a target at a time: after each round another one has its turn, so that time is shared. */
const round = 20_000

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '100000' },
      seed: { type: 'string' },
      only: { type: 'string', default: '' },
      minutes: { type: 'string', default: 'Infinity' },
    },
  })
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  const until = Date.now() + Number(values.minutes) * 60_000
  const { targets, stop } = await openTargets()
  const chosen = targets.filter(({ name }) => name.startsWith(values.only))
  const wanted = Number(values.cases)
  let [done, faults, longestMs, firstBytes] = [0, 0, 0, 0]
  try {
    for (let turn = 0; done < wanted && Date.now() < until; turn++) {
      for (const [target, cases] of sharesOf(chosen, Math.min(round, wanted - done))) {
        if (Date.now() >= until) break
        try {
          const outcome = await runCases(target, { cases, seed: seed + 2 * turn })
          done += outcome.cases
          longestMs = Math.max(longestMs, outcome.longestMs)
        } catch (error) {
          if (!(error instanceof Fault)) throw error
          faults++
          done += cases
          process.stderr.write(`error: ${error.message}\n`)
        }
      }
      const bytes = await heldBytes()
      if (turn === 0) firstBytes = bytes
      const kept = `${((bytes - firstBytes) / 2 ** 20).toFixed(1)} MiB more held than after the first round`
      process.stdout.write(`${done} cases, ${faults} faults, longest call ${longestMs.toFixed(1)} ms, ${kept}\n`)
      if (bytes - firstBytes > mostKeptBytes) faults++
    }
  } finally {
    await stop()
  }
  process.stdout.write(
    `seed ${seed}: ${done} cases of ${chosen.length} targets, ${faults} faults, ` +
      `longest call ${longestMs.toFixed(1)} ms of processor\n`,
  )
  return faults === 0 ? 0 : 1
}

process.exitCode = await main()
