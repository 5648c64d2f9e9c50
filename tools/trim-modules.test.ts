/** What is left out of an installation: on every kind of machine its own binaries stay. */
import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { temporaryFolder } from '../test/support/homes.ts'
import { isForeignBinary, trimModules } from './trim-modules.mjs'

/**
 * Binaries of packages that bring those of every system, as they name them (onnxruntime-node, better-sqlite3,
 * node-gyp-build).
 */
const binaries: Readonly<Record<string, readonly string[]>> = {
  'linux x64': [
    'bin/napi-v6/linux/x64/libonnxruntime.so.1',
    'bin/napi-v6/linux/x64/onnxruntime_binding.node',
    'prebuilds/linux-x64.node',
    'prebuilds/linuxmusl-x64.node',
    'prebuilds/linux-x64/node.napi.glibc.node',
    'x.linux-x64-gnu.node',
  ],
  'linux arm64': [
    'bin/napi-v6/linux/arm64/libonnxruntime.so.1.30.0',
    'prebuilds/linux-arm64.node',
    'bins/linux-aarch64/a.so',
    'prebuilds/linuxmusl-arm64.node',
  ],
  'darwin arm64': [
    'bin/napi-v6/darwin/arm64/libonnxruntime.1.dylib',
    'prebuilds/darwin-arm64.node',
    'bins/mac-arm64-metal/a.dylib',
  ],
  'darwin x64': ['prebuilds/darwin-x64.node', 'bin/macos-amd64/tool.node'],
  'win32 x64': [
    'bin/napi-v6/win32/x64/DirectML.dll',
    'prebuilds/win32-x64.node',
    'bin/windows_amd64/a.exe',
    'bin/win-x64/a.pdb',
  ],
  'win32 arm64': ['bin/napi-v6/win32/arm64/dxcompiler.dll', 'prebuilds/win32-arm64.node'],
  'win32 ia32': ['prebuilds/win32-ia32.node', 'bin/win-x86/a.dll'],
}
/** For every system, or not known to be for one: what has no system in its path may be a variant. */
const shared = [
  'build/Release/own.node',
  'lib/libggml-cpu-x64.so',
  'dist/index.js',
  'linux/readme.md',
  'dist/win32.js',
  'prebuilds/x64.node',
  'prebuilds/darwinia.node',
  'prebuilds/sunos/a.node',
  'optimized.simd.wasm',
]

const write = (root: string, files: Readonly<Record<string, string>>): void => {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
}

const filesIn = (root: string): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((file) => !lstatSync(join(root, file)).isDirectory())
    .map((file) => file.replaceAll('\\', '/'))
    .toSorted()

describe('trimming an installation', () => {
  it('a binary is for its own system and for no other', () => {
    for (const own of Object.keys(binaries)) {
      const [platform, arch] = own.split(' ')
      for (const [system, files] of Object.entries(binaries)) {
        for (const file of files)
          assert.equal(isForeignBinary(file, { platform, arch }), system !== own, `${file} on ${own}`)
      }
      for (const file of shared) assert.equal(isForeignBinary(file, { platform, arch }), false, `${file} on ${own}`)
    }
    assert.equal(isForeignBinary('bin/darwin-universal/a.dylib', { platform: 'darwin', arch: 'x64' }), false)
    assert.equal(isForeignBinary('bin/darwin-x64-arm64/a.node', { platform: 'darwin', arch: 'arm64' }), false)
  })

  it('removes what other systems run, compiles and debugs, and empty folders with it; links are not followed', (t) => {
    const root = temporaryFolder(t)
    const elsewhere = temporaryFolder(t)
    write(elsewhere, { 'a.map': '' })
    write(root, {
      'engine/package.json': '{ "os": ["win32", "darwin", "linux"] }',
      'engine/bin/linux/x64/a.node': 'own',
      'engine/bin/win32/x64/a.node': 'other',
      'engine/bin/win32/arm64/a.dll': 'other',
      'engine/dist/index.js': '',
      'engine/dist/index.js.map': '12345',
      'engine/dist/index.d.ts': '',
      'engine/LICENSE': '',
      'engine/readme.md': '',
      '@scope/linux-x64/package.json': '{ "os": ["linux"], "cpu": ["x64"] }',
      '@scope/linux-x64/lib/mac-arm64.node': 'whatever it is called',
      '@scope/other/package.json': '{ "os": ["!win32"] }',
      '@scope/other/mac-arm64.node': 'other',
      '@scope/other/node_modules/inner/deps/sqlite3.c': '',
      '@scope/other/node_modules/inner/prebuilds/darwin-x64.node': '',
      'node/include/node/v8.h': '',
      'tool/src/index.ts': '',
    })
    symlinkSync(elsewhere, join(root, 'linked'))
    mkdirSync(join(root, 'engine', 'empty'))
    const machine = { platform: 'linux', arch: 'x64' }
    assert.deepEqual(trimModules(root, { machine, production: false }), { files: 7, bytes: 20 })
    const kept = [
      '@scope/linux-x64/lib/mac-arm64.node',
      '@scope/linux-x64/package.json',
      '@scope/other/package.json',
      'engine/LICENSE',
      'engine/bin/linux/x64/a.node',
      'engine/dist/index.js',
      'engine/package.json',
      'engine/readme.md',
      'linked',
      'linked/a.map',
    ]
    assert.deepEqual(filesIn(root), [...kept, 'engine/dist/index.d.ts', 'tool/src/index.ts'].toSorted())
    assert.deepEqual(
      [
        existsSync(join(root, 'node')),
        existsSync(join(root, 'engine', 'bin', 'win32')),
        existsSync(join(root, 'engine', 'empty')),
      ],
      [false, false, true],
    )
    trimModules(root, { machine, production: true })
    assert.deepEqual(filesIn(root), kept)
    assert.deepEqual(trimModules(root, { machine, production: true }), { files: 0, bytes: 0 })
  })
})
