import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { DeviceConfig } from '../device/device.ts'
import { confirmChange } from './confirm-change.ts'

const before: DeviceConfig = { networkId: 'home', name: 'laptop', controlPlaneUrl: 'http://a:1' }

/** A person who types this, or a pipe. @returns what was asked */
const asked = async (
  typed: string,
  wanted: Partial<DeviceConfig>,
  { isTTY = true, yes = false, signal = new AbortController().signal } = {},
): Promise<string> => {
  let text = ''
  const stderr = { write: (part: string): void => void (text += part), control: () => undefined, isTTY, columns: 80 }
  await confirmChange(
    { stdin: { isTTY, mayIdle: true, stream: Readable.from([typed]) }, stderr, signal },
    before,
    wanted,
    yes,
  )
  return text
}

const refusal = { code: 'deviceSetUp', exitCode: 3 }

test('a change of name or control plane is asked for once, with what it is, and y or yes lets it through', async () => {
  for (const answer of ['y\n', 'Y\n', ' yes \n', 'yes']) {
    assert.equal(
      await asked(answer, { name: 'desk' }),
      'this device is set up as "laptop": its name would become "desk". Change it? [y/N] ',
    )
  }
  const both = await asked('y\n', { name: 'desk', controlPlaneUrl: 'http://b:2' })
  assert.match(both, /its name would become "desk", its control plane would become http:\/\/b:2 \(now http:\/\/a:1\)/)
})

test('any other answer, none, or no terminal refuses it', async () => {
  for (const answer of ['n\n', '\n', 'yellow\n', 'no, not yes\n', ''])
    await assert.rejects(asked(answer, { name: 'desk' }), refusal)
  await assert.rejects(asked('y\n', { name: 'desk' }, { isTTY: false }), refusal)
})

test('nothing is asked where nothing changes, or where --yes was given', async () => {
  assert.equal(await asked('', { name: 'laptop', controlPlaneUrl: 'http://a:1', networkId: 'home' }), '')
  assert.equal(await asked('', {}), '')
  assert.equal(await asked('', { name: 'desk' }, { yes: true, isTTY: false }), '')
})

test('Ctrl-C at the question interrupts', async () => {
  await assert.rejects(asked('', { name: 'desk' }, { signal: AbortSignal.abort() }), { name: 'AbortError' })
})
