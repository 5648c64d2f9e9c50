/**
 * Commands as people mistype them, run for real against a control plane: exit code, message, and a hint that leads on.
 * The commands run in this process, through the same `runCli` as the program.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openHome } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { startReady } from '../../test/support/processes.ts'
import type { Output } from './command.ts'
import { runCli } from './run.ts'
import { noInput } from './standard-input.ts'

interface Turn {
  readonly args: readonly string[]
  readonly code: number
  readonly error: RegExp
  readonly hint: RegExp
}

const cleaning: (() => void | Promise<void>)[] = []
/** What tests clean up at their end, for the whole file. */
const file = { after: (clean: () => void | Promise<void>): void => void cleaning.push(clean) }
let root = ''
let home = ''

const run = async (
  args: readonly string[],
  homeFolder = home,
): Promise<{ code: number; stdout: string; stderr: string }> => {
  const written = { stdout: '', stderr: '' }
  const output = (name: keyof typeof written): Output => ({
    write: (text) => void (written[name] += text),
    control: (text) => void (written[name] += text),
    isTTY: false,
    columns: 80,
  })
  const around = {
    home: openHome(homeFolder),
    stdout: output('stdout'),
    stderr: output('stderr'),
    stdin: noInput(),
    colour: false,
    now: Date.now,
    fetch,
    signal: new AbortController().signal,
  }
  return { code: await runCli(args, around), ...written }
}

const check = async ({ args, code, error, hint }: Turn): Promise<void> => {
  const { stderr, ...result } = await run(args)
  const name = `mesh ${args.join(' ')}`
  assert.match(stderr, /^error: [^\n]+\nhint: [^\n]+\n$/, `${name}: not two lines:\n${stderr}`)
  const [first, second] = stderr.split('\n')
  assert.match(first, error, name)
  assert.match(second, hint, name)
  assert.deepEqual(result, { code, stdout: '' }, name)
}

const write = (path: string, text: string | Buffer): string => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

const pointer =
  'version https://git-lfs.github.com/spec/v1\noid ' +
  'sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 2200119864\n'
const bundled = fileURLToPath(new URL('../../models/tiny-story', import.meta.url))

/** The bundled model without its weights, and with these files instead. */
const folderWith = (
  name: string,
  files: Readonly<Record<string, string | Buffer>>,
  without: readonly string[] = ['model.safetensors'],
): string => {
  const folder = join(root, name)
  cpSync(bundled, folder, { recursive: true })
  for (const gone of without) rmSync(join(folder, gone))
  for (const [path, text] of Object.entries(files)) write(join(folder, path), text)
  return folder
}

before(async () => {
  root = temporaryFolder(file)
  home = join(root, 'home')
  const { info } = await startReady(file, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', '0', '--json'],
    home: root,
  })
  for (const args of [
    ['init', '--network-id', 'home', '--name', 'laptop', '--control-plane', String(info.url)],
    ['pool-create', '--name', 'home'],
  ]) {
    assert.equal((await run(args)).code, 0)
  }
})

after(async () => {
  for (const clean of cleaning.toReversed()) await clean()
})

const joins = (folder: string, code: number, error: RegExp, hint: RegExp): Turn => ({
  args: ['join-ring', '--model-id', 'm', '--model-dir', folder],
  code,
  error,
  hint,
})

describe('a wrong turn', () => {
  it('names what lists the thing that is not there', async () => {
    const device = 'ab12cd34'
    await check({
      args: ['pool-remove', '--device', device],
      code: 2,
      error: /there is no member with the id ab12cd34/,
      hint: /mesh pool-peers shows/,
    })
    for (const command of ['pool-approve', 'pool-deny']) {
      await check({
        args: [command, '--device', device],
        code: 2,
        error: /no join request of device ab12cd34/,
        hint: /mesh pool-requests shows/,
      })
    }
    await check({
      args: ['api-key-revoke', '0123456789abcdef'],
      code: 2,
      error: /no API key 0123456789abcdef/,
      hint: /mesh api-key-list shows/,
    })
  })

  it('of the command line leads to the help of its command', async () => {
    const wrong: readonly (readonly [readonly string[], RegExp])[] = [
      [['join-ring', '--quant', 'q3'], /--quant wants one of f32, q8, q4/],
      [['join-ring', '--model', 'x'], /unknown option '--model'/],
      [['init', '--name', 'x'], /mesh init needs --network-id/],
      [['inference', '--prompt', 'x', '--temperature', 'hot'], /--temperature wants/],
      [['pool-remove', '--device', 'Laptop'], /--device wants .* \(mesh pool-peers shows it\)/],
      [['pool-deny', '--device', '12'], /--device wants .* \(mesh pool-requests shows it\)/],
      [['pool-join', '--pool-id', 'ab'], /mesh pool-join needs/],
      [['ledger', 'verify', '--since', '1d'], /unknown option '--since'/],
      [['status', '--control-plane', 'nowhere'], /--control-plane wants an address/],
      [['api-key-revoke', 'x'], /16 hex digits/],
    ]
    for (const [args, error] of wrong) {
      const command = args[0] === 'ledger' ? 'ledger-verify' : args[0]
      await check({ args, code: 2, error, hint: new RegExp(`^hint: mesh ${command} --help$`) })
    }
    await check({
      args: ['joinring'],
      code: 2,
      error: /there is no command joinring; did you mean mesh join-ring \(/,
      hint: /^hint: mesh join-ring --help$/,
    })
  })

  it('to a model that is not there tells how to get it', async () => {
    const named = (modelId: string): readonly string[] => ['join-ring', '--model-id', modelId]
    await check({
      args: named('meta-llama/Llama-3.2-1B'),
      code: 5,
      error: /model meta-llama\/Llama-3\.2-1B is not on this device/,
      hint: /hf download meta-llama\/Llama-3\.2-1B --local-dir .*models\/meta-llama\/Llama-3\.2-1B; then repeat/,
    })
    await check({
      args: named('llama3:8b'),
      code: 5,
      error: /names with a tag are those of Ollama/,
      hint: /mesh join-ring --model-id llama3:8b --model-dir FOLDER/,
    })
    await check({
      args: named('tiny-stroy'),
      code: 5,
      error: /no model tiny-stroy on this device \(there is tiny-story\)/,
      hint: /--model-dir/,
    })
  })

  it('to a folder that holds no model we read tells what it holds', async () => {
    await check(joins(join(root, 'nowhere'), 5, /there is no model at .*nowhere/, /--model-dir; .*hf download/))
    await check(
      joins(
        write(join(root, 'tiny.Q4_K_M.gguf'), 'GGUF'),
        5,
        /Q4_K_M\.gguf is no GGUF file that can be used: .*cut short/,
        /download the file again/,
      ),
    )
    await check(
      joins(
        join(bundled, 'config.json'),
        5,
        /config\.json is a file, a model is a folder/,
        /--model-dir .*tiny-story$/,
      ),
    )
    await check(
      joins(
        dirname(write(join(root, 'gguf', 'a.gguf'), 'GGUF')),
        5,
        /a\.gguf is no GGUF file that can be used/,
        /download the file again/,
      ),
    )
    write(join(root, 'several', 'a.Q8_0.gguf'), 'GGUF')
    await check(
      joins(
        dirname(write(join(root, 'several', 'a.Q4_0.gguf'), 'GGUF')),
        2,
        /several holds several models: a\.Q4_0\.gguf, a\.Q8_0\.gguf/,
        /--model-dir .*a\.Q4_0\.gguf$/,
      ),
    )
    await check(
      joins(
        folderWith('bin', { 'pytorch_model.bin': 'PK' }),
        5,
        /pytorch_model\.bin is in the PyTorch format/,
        /\*\.safetensors/,
      ),
    )
    await check(
      joins(
        folderWith('parts', { 'model-00001-of-00002.safetensors': '' }),
        5,
        /model\.safetensors\.index\.json is missing/,
        /download/,
      ),
    )
    await check(
      joins(
        folderWith('spm', { 'tokenizer.model': '' }, ['tokenizer.json']),
        5,
        /tokenizer\.json is missing .* tokenizer\.model alone/,
        /tokenizer\.json/,
      ),
    )
    const cache = join(root, 'models--owner--name')
    cpSync(bundled, join(cache, 'snapshots', '0a1b'), { recursive: true })
    await check(
      joins(
        cache,
        5,
        /config\.json is missing in .*models--owner--name; a folder in it has one/,
        /--model-dir .*snapshots\/0a1b$/,
      ),
    )
  })

  it('to files that are something else tells what they are', async () => {
    await check(
      joins(
        folderWith('lfs', { 'model.safetensors': pointer }),
        5,
        /model\.safetensors is a note of Git LFS/,
        /git -C .*lfs lfs pull/,
      ),
    )
    await check(
      joins(
        folderWith('lfs-tokenizer', { 'tokenizer.json': pointer }, []),
        5,
        /tokenizer\.json is a note of Git LFS/,
        /lfs pull/,
      ),
    )
    await check(
      joins(
        folderWith('web', { 'model.safetensors': '<!DOCTYPE html>\n<html>' }),
        5,
        /it is a web page in place of the file/,
        /download the file again/,
      ),
    )
    await check(
      joins(
        folderWith('renamed', { 'model.safetensors': Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(100)]) }),
        5,
        /model\.safetensors is a GGUF file under another name/,
        /safetensors/,
      ),
    )
    await check(
      joins(
        folderWith('zip', { 'model.safetensors': Buffer.concat([Buffer.from('PK\u0003\u0004'), Buffer.alloc(100)]) }),
        5,
        /model\.safetensors is in the PyTorch format/,
        /safetensors/,
      ),
    )
    await check(
      joins(
        folderWith('folder', { 'model.safetensors/x': '' }),
        5,
        /cannot read .*model\.safetensors: it is no file/,
        /permissions/,
      ),
    )
  })

  it('with a file that a flag names leads back to the flag', async () => {
    await check({
      args: ['pool-import-key', '--file', join(root, 'gone.key')],
      code: 3,
      error: /there is no file .*gone\.key/,
      hint: /check the path after --file/,
    })
    await check({
      args: ['pool-import-key', '--file', root],
      code: 3,
      error: /cannot read .*EISDIR/,
      hint: /the path after --file names a file/,
    })
    const lock = ['pool-export-key', '--file', join(root, 'home.key'), '--passphrase-file', join(root, 'gone')]
    await check({
      args: lock,
      code: 3,
      error: /there is no file .*gone/,
      hint: /check the path after --passphrase-file/,
    })
  })

  it('in the demo ends before anything is started', async () => {
    await check({
      args: ['demo', '--model-dir', join(root, 'nowhere')],
      code: 5,
      error: /there is no model at/,
      hint: /--model-dir/,
    })
    await check({
      args: ['demo', '--model-id', 'owner/name'],
      code: 5,
      error: /model owner\/name is not on this device/,
      hint: /hf download/,
    })
  })
})
