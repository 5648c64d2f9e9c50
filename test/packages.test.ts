/** What is installed with us: known bytes, licences that we may pass on, no script that runs by itself. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { allowedLicences, installScripts, isAllowed, readPackages } from './support/packages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const packages = readPackages(join(root, 'package-lock.json'))

test('packages: each has a licence that is allowed', () => {
  assert.deepEqual(
    packages.filter(({ licence }) => !isAllowed(licence)).map(({ name, licence }) => `${name}: ${licence}`),
    [],
  )
  for (const licence of allowedLicences) assert.ok(isAllowed(licence))
  for (const licence of ['', 'GPL-3.0', 'MIT AND GPL-3.0', 'SEE LICENSE IN X', 'UNLICENSED', 'BUSL-1.1'])
    assert.ok(!isAllowed(licence), licence)
  for (const licence of ['GPL-2.0 OR MIT', '(MIT OR CC0-1.0)', 'MIT AND ISC']) assert.ok(isAllowed(licence), licence)
})

test('packages: each is known by the hash of its bytes', () => {
  assert.deepEqual(
    packages.filter(({ integrity }) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '')).map(({ name }) => name),
    [],
  )
})

test('packages: versions are exact, so that the lock file and the manifest say the same', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
    string,
    Record<string, string>
  >
  const wanted = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }
  // types of Node follow its major version
  assert.deepEqual(
    Object.entries(wanted).filter(
      ([name, version]) => name !== '@types/node' && !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version),
    ),
    [],
  )
})

test('packages: none runs a script when it is installed, but the one that brings Node', () => {
  assert.deepEqual(
    [...new Set(packages.filter(({ hasInstallScript }) => hasInstallScript).map(({ name }) => name))].toSorted(),
    Object.keys(installScripts).toSorted(),
  )
  const setup = readFileSync(join(root, 'tools', 'setup.mjs'), 'utf8')
  const steps = [...setup.matchAll(/^ {2}\['(ci|rebuild|install)'.*\],$/gm)].map(([line]) => line)
  assert.equal(steps.length, 2)
  assert.match(steps[0], /'ci', '--ignore-scripts'/)
  assert.match(steps[1], /^ {2}\['rebuild', 'node', '--ignore-scripts=false'\],$/)
  const { allowScripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    allowScripts: Record<string, boolean>
  }
  assert.deepEqual(
    Object.entries(allowScripts)
      .filter(([, isRun]) => isRun)
      .map(([name]) => name),
    ['node'],
  )
})
