/** A command and the agent that runs, of different versions: after an update somebody forgot to restart it. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { processMark } from '../../shared/process-alive.ts'
import { version } from '../../shared/version.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { readAgentState } from './session.ts'

test('an agent of another version, whose words have changed, is named as such while it runs', (t) => {
  const home = openHome(temporaryFolder(t))
  mkdirSync(dirname(home.agentState), { recursive: true })
  const write = (state: object): void =>
    writeFileSync(home.agentState, JSON.stringify({ mark: processMark(process.pid), ...state }))
  write({ pid: process.pid, version: '9.9.9', rings: 'in other words' })
  assert.throws(() => readAgentState(home), {
    code: 'agentVersion',
    message: new RegExp(`process ${process.pid}\\) is of version 9\\.9\\.9, this command of version ${version}`),
    hint: /mesh down, then mesh start -d/,
  })
  // of this version the file is damaged, and an agent that is gone says nothing
  write({ pid: process.pid, version, rings: 'in other words' })
  assert.throws(() => readAgentState(home), { code: 'stateUnreadable' })
  write({ pid: 2 ** 22, version: '9.9.9', rings: 'in other words' })
  assert.throws(() => readAgentState(home), { code: 'stateUnreadable' })
})
