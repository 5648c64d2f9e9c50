/** Which modules are pure, and which tests are beside them. */
import { existsSync, globSync } from 'node:fs'
import { join } from 'node:path'
import type { Module } from './measure.ts'

interface Room {
  /** Files, as patterns from the root of the tree. */
  readonly sources: string | readonly string[]
  /**
   * Not pure: what these do is to talk to sockets, files or processes; or they are tables that something else tells.
   */
  readonly except?: readonly string[]
  /** Asked about what the test of the module's own name misses, or where there is none. */
  readonly tests: readonly string[]
}

export const rooms: readonly Room[] = [
  { sources: 'shared/plan/*.ts', tests: ['shared/plan/*.test.ts'] },
  { sources: 'shared/ledger/*.ts', tests: ['shared/ledger/*.test.ts'] },
  { sources: 'shared/identity/*.ts', tests: ['shared/identity/*.test.ts'] },
  { sources: 'shared/sealed/*.ts', tests: ['shared/sealed/*.test.ts'] },
  { sources: 'shared/wire/*.ts', tests: ['shared/wire/*.test.ts'] },
  { sources: 'shared/schema/*.ts', tests: ['shared/schema/*.test.ts'] },
  {
    sources: 'shared/*.ts',
    except: [
      // tables
      'shared/errors.ts',
      'shared/options.ts',
      'shared/limits.ts',
      // files, streams and signals of the process
      'shared/folder-lock.ts',
      'shared/home.ts',
      'shared/log.ts',
      'shared/output-watch.ts',
    ],
    tests: [],
  },
  { sources: 'control-plane/domain/*.ts', tests: ['control-plane/domain/*.test.ts'] },
  { sources: 'agent/generation/*.ts', tests: ['agent/generation/*.test.ts'] },
  { sources: 'agent/collective/*.ts', tests: ['agent/collective/*.test.ts'] },
  { sources: 'agent/channel/*.ts', tests: ['agent/channel/*.test.ts'] },
  { sources: 'agent/checks/{compare,evidence,instants,spot-checks}.ts', tests: ['agent/checks/*.test.ts'] },
  // what decides; the others read what the system tells
  {
    sources:
      'agent/device/{checked-state,cpu-meter,elapsed,free-cores,invites,known-peers,lock-store,resource-lock}.ts',
    tests: ['agent/device/*.test.ts'],
  },
  // the others speak with peers
  {
    sources: 'agent/network/{announced-address,dialable,peer-id,pool-candidates,ring-hello,whereabouts}.ts',
    tests: [],
  },
  { sources: 'agent/links/{link-probe,pairing}.ts', tests: ['agent/links/*.test.ts'] },
  // the machines of the agent; what carries them out is tested whole
  {
    sources: 'agent/daemon/{load-progress,report-pace,session-state}.ts',
    tests: [],
  },
  { sources: 'shared/api/failures.ts', tests: [] },
  { sources: 'agent/cli/{option-text,other-words,process-output,wrap}.ts', tests: [] },
  { sources: ['agent/engine/rope.ts', 'agent/engine/lanes.ts'], tests: ['agent/engine/{rope,lanes}.test.ts'] },
]

const isTest = (file: string): boolean => file.endsWith('.test.ts') || file.endsWith('contract.ts')

const modulesOf = (root: string, room: Room): Module[] =>
  globSync(room.sources, { cwd: root })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => !isTest(file) && !(room.except ?? []).includes(file))
    .toSorted()
    .map((source) => {
      const own = source.replace(/\.ts$/, '.test.ts')
      const others = room.tests.length === 0 ? [] : globSync(room.tests, { cwd: root }).filter((file) => file !== own)
      const near = existsSync(join(root, own)) ? [[own]] : []
      return { source, tests: others.length > 0 ? [...near, others.toSorted()] : near }
    })

/** All modules that are measured. @param root of the tree */
export const findModules = (root: string): Module[] => rooms.flatMap((room) => modulesOf(root, room))
