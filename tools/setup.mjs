/**
 * Makes a clone ready to run and then runs a script of it with the project's own Node.
 *
 *   node tools/setup.mjs agent/main.ts demo      install what is missing, then run
 *   node tools/setup.mjs --only-install          install what is missing
 *   node tools/setup.mjs --only-install --production --print-node     for install.sh, as is --print-flags
 *   node tools/setup.mjs --only-install --only relay,control-plane    the same, and those parts alone (not in a clone)
 *
 * Plain JavaScript without dependencies that Node 18 understands, because it is what runs before anything is
 * installed. When nothing changed it costs a few reads of files and the start of a process.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants as fileConstants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { reduceTo, wantedParts } from './parts.mjs'
import { SetupError } from './setup-error.mjs'
import { takeLock } from './setup-lock.mjs'
import { trimModules, trimVersion } from './trim-modules.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
/**
 * Says which lock file the installed dependencies belong to; npm removes it with everything else before it installs.
 */
const stampFile = join(modules, '.mesh-setup')
/** Says which version of the list of unused files was applied to it. */
const trimFile = join(modules, '.mesh-trimmed')
const lockFile = join(root, '.cache', 'setup.lock')
const ownNode = join(modules, 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
const setupExitCode = 3

const majorOf = (version) => Number(/^v?(\d+)\./.exec(version)?.[1] ?? 0)
const say = (text) => process.stderr.write(`${text}\n`)

const wantedStamp = (production) => {
  const file = join(root, 'package-lock.json')
  if (!existsSync(file))
    throw new SetupError(`${file} is missing`, 'clone the repository again, or restore the file with git')
  const hash = createHash('sha256')
    .update(readFileSync(file))
    .update(`${process.platform} ${process.arch}`)
    .digest('hex')
  return `${hash} ${production ? 'production' : 'full'}`
}

const firstLine = (file) => {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}

/**
 * What is there already; a full installation also serves where only production dependencies are wanted.
 * @returns `undefined` when npm has to install; else which kind it is, and whether what we never read was left out
 */
const findInstalled = (production) => {
  const found = firstLine(stampFile)
  const isFull = found === wantedStamp(false)
  if (!isFull && !(production && found === wantedStamp(true))) return undefined
  return { isFull, isTrimmed: firstLine(trimFile) === trimVersion }
}

/** How to call npm: the one that runs us if npm does, otherwise the one on the path. */
const npmCommand = () => {
  const script = process.env.npm_execpath
  // `npm run` starts us with our own Node where that is installed, and npm ci removes it
  const isThere = script !== undefined && existsSync(script) && existsSync(process.execPath)
  if (isThere && /npm-cli\.c?js$/.test(script)) return { file: process.execPath, before: [script], shell: false }
  return { file: 'npm', before: [], shell: process.platform === 'win32' }
}

const checkNpm = (npm) => {
  const { error, stdout, status } = spawnSync(npm.file, [...npm.before, '--version'], {
    cwd: root,
    encoding: 'utf8',
    shell: npm.shell,
  })
  if (error || status !== 0)
    throw new SetupError(
      'npm is not there, and the dependencies are not installed',
      'install Node.js with npm (any Node from 18 on): https://nodejs.org',
    )
  if (majorOf(stdout.trim()) < 7)
    throw new SetupError(
      `npm ${stdout.trim()} is too old for the lock file`,
      'install npm 7 or newer, for example with: npm install --global npm@latest',
    )
}

/** Settings of an npm that runs us to install the package for all users: they are about that, not about our folder. */
const outerSettings = /^npm_config_(?:global|location|prefix|global_prefix|local_prefix|ignore_scripts|omit|include)$/i

const npmEnvironment = () => {
  const own = Object.entries(process.env).filter(([name]) => !outerSettings.test(name))
  return { ...Object.fromEntries(own), ONNXRUNTIME_NODE_INSTALL: 'skip', npm_config_update_notifier: 'false' }
}

const runNpm = (npm, args) =>
  new Promise((resolve, reject) => {
    const env = npmEnvironment()
    const all = [...npm.before, ...args, '--no-audit', '--no-fund', '--loglevel=error']
    const child = spawn(npm.file, all, { cwd: root, env, shell: npm.shell, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    const stop = (signal) => child.kill(signal)
    process.on('SIGINT', stop).on('SIGTERM', stop)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      process.off('SIGINT', stop).off('SIGTERM', stop)
      resolve({ ok: code === 0, signal, output: output.trim() })
    })
  })

/**
 * Install scripts stay off: every native part comes prebuilt inside its package, and scripts would compile it again
 * (better-sqlite3, where npm finds a binding.gyp) or fetch what is not used (CUDA for onnxruntime-node). The one
 * script that is needed is that of the package `node`: it fetches the binary for this platform from the registry.
 */
const installSteps = (production) => [
  ['ci', '--ignore-scripts', production ? '--omit=dev' : '--include=dev'],
  ['rebuild', 'node', '--ignore-scripts=false'],
]

const explain = (output) => {
  if (/ENOSPC/.test(output)) return new SetupError('the disk is full', 'free about 1 GB and try again')
  if (/EACCES|EPERM|EROFS/.test(output))
    return new SetupError(
      `no permission to write in ${root}`,
      'use a folder of your own, or repair its owner with chown',
    )
  if (
    /ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ECONNRESET|ERR_SOCKET_TIMEOUT|ENETUNREACH|EHOSTUNREACH/.test(output)
  ) {
    return new SetupError(
      'the npm registry cannot be reached, and the dependencies are not installed',
      'connect to the network (behind a proxy: npm config set proxy URL) and try again',
    )
  }
  return new SetupError(
    'npm ci failed (its output is above)',
    'try again; if it repeats, remove node_modules and look at the first error above',
  )
}

const installPackages = async (production) => {
  const npm = npmCommand()
  checkNpm(npm)
  say('installing dependencies (once; about half a minute) ...')
  for (const args of installSteps(production)) {
    const { ok, signal, output } = await runNpm(npmCommand(), args)
    if (signal !== null) throw new SetupError(`the installation was interrupted (${signal})`, 'run the command again')
    if (!ok) {
      say(output)
      throw explain(output)
    }
  }
  findNode()
}

/** The system that the Node which runs Mesh was made for: on some machines npm's own Node is for another processor. */
const machineOfNode = () => {
  const { stdout, status } = spawnSync(findNode(), ['-p', 'JSON.stringify([process.platform, process.arch])'], {
    encoding: 'utf8',
  })
  if (status !== 0) return { platform: process.platform, arch: process.arch }
  const [platform, arch] = JSON.parse(stdout)
  return { platform, arch }
}

const trim = (production) => {
  try {
    trimModules(modules, { machine: machineOfNode(), production })
  } catch (error) {
    // they cost space and nothing else
    say(`note: files that are not needed stay in ${modules} (${error.message})`)
  }
}

const isWritable = (folder) => {
  try {
    accessSync(folder, fileConstants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * npm runs only where something is missing; it removes both stamps when it starts, so what it brings back is trimmed
 * again.
 */
const install = async (production) => {
  const before = findInstalled(production)
  if (before?.isTrimmed) return
  // what another user installed can be run, if not made smaller
  if (before !== undefined && !isWritable(modules)) return
  const giveBack = await takeLock(lockFile, say)
  try {
    let installed = findInstalled(production)
    if (installed?.isTrimmed) return
    if (installed === undefined) {
      rmSync(trimFile, { force: true })
      await installPackages(production)
      writeFileSync(stampFile, `${wantedStamp(production)}\n`)
      installed = { isFull: !production }
    }
    trim(!installed.isFull)
    writeFileSync(trimFile, `${trimVersion}\n`)
  } finally {
    giveBack()
  }
}

/** The Node to run our TypeScript with. */
const findNode = () => {
  if (existsSync(ownNode)) return ownNode
  if (majorOf(process.version) >= 24) return process.execPath
  throw new SetupError(
    `Node 24 was not installed, and this is Node ${process.version}`,
    'allow install scripts (npm config delete ignore-scripts), remove node_modules and try again; or use Node 24',
  )
}

/** What our own Node is started with (`node-flags.ts`); another one may not know it. */
const flagsFor = (node) =>
  node === ownNode ? (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).config?.nodeFlags ?? []) : []

/** Runs the script with our arguments, terminal and signals. @returns its exit code */
const run = (script, args) =>
  new Promise((resolve, reject) => {
    // processes of Mesh start in half the time when Node finds its modules compiled; where nothing can be written, it
    // goes without
    const env = {
      ...process.env,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, '.cache', 'compiled'),
    }
    const node = findNode()
    const child = spawn(node, [...flagsFor(node), join(root, script), ...args], { stdio: 'inherit', env })
    const forward = (signal) => child.kill(signal)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward)
    // the only way to get here: npm was started by hand in this folder and is replacing everything right now
    child.on('error', (error) =>
      reject(
        new SetupError(
          `our own Node cannot be started (${error.message})`,
          'wait until no npm works in this folder, then try again',
        ),
      ),
    )
    child.on('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)))
  })

/** Leaves out what nobody wants here, before anything is installed. @returns whether parts were named */
const leaveOut = (flags) => {
  const isPackage = flags.has('--production') && !existsSync(stampFile)
  const names = wantedParts(root, flags.get('--only'), isPackage ? process.env.MESHNET_ONLY : undefined)
  if (names !== undefined) reduceTo(root, names)
  return names !== undefined
}

const readFlags = (args) => {
  const flags = new Map()
  while (args[0]?.startsWith('--')) {
    const flag = args.shift()
    if (!['--only-install', '--only', '--production', '--print-node', '--print-flags'].includes(flag))
      throw new SetupError(
        `unknown option ${flag}`,
        'usage: node tools/setup.mjs [--only-install] [script [arguments]]',
      )
    flags.set(flag, flag === '--only' ? (args.shift() ?? '') : true)
  }
  return flags
}

const main = async (args) => {
  const flags = readFlags(args)
  const isReduced = leaveOut(flags)
  await install(flags.has('--production') || isReduced)
  if (flags.has('--print-node')) process.stdout.write(`${findNode()}\n`)
  if (flags.has('--print-flags')) process.stdout.write(`${flagsFor(findNode()).join(' ')}\n`)
  if (flags.has('--only-install')) return 0
  if (args.length === 0)
    throw new SetupError('no script is named', 'usage: node tools/setup.mjs [--only-install] [script [arguments]]')
  return run(args[0], args.slice(1))
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  say(`error: ${error instanceof SetupError ? error.message : (error.stack ?? error)}`)
  say(`hint: ${error.hint ?? 'this is a defect of Mesh; please report it'}`)
  process.exitCode = setupExitCode
}
