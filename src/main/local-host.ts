import './failure.ts'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import { dom0 } from '../base/names.ts'
import type { BootKernel } from '../host/boot-machines.ts'
import { serveBoots } from '../host/local/boot-door.ts'
import { localBootMachines } from '../host/local/boot-machine.ts'
import { createBroker } from '../host/local/broker.ts'
import { serveControl } from '../host/local/broker-control.ts'
import { findWalls, type Product } from '../host/local/bubblewrap.ts'
import { closeInherited } from '../host/local/inherited.ts'
import { localInventory } from '../host/local/inventory.ts'
import { startOf } from '../host/local/process-start.ts'
import { serveSandboxes } from '../host/local/sandbox-door.ts'
import { localSandboxes } from '../host/local/sandboxes.ts'
import type { Listener } from '../host/local/socket.ts'
import { createSupervisor } from '../host/local/supervisor.ts'
import { localVolumeSandboxes } from '../host/local/volume-sandboxes.ts'
import { hostUsage } from '../usage/host.ts'
import { runCommand } from './command-line.ts'
import { systemOf } from './judge.ts'
import { LocalHome, serviceVms } from './local-home.ts'
import { openDoor } from './local-port.ts'
import { runInside } from './local-run.ts'
import { serviceProcesses } from './local-vms.ts'
import { roleCommand } from './role-command.ts'
import { openForService, sealedPolicy } from './sealed-configuration.ts'
import { onStop } from './stop.ts'

/*
 * A machine without Qubes: the broker, one process a VM behind bubblewrap, and a door on the loopback interface to the
 * management VM's API, which has no network of its own. Runs in the foreground until SIGTERM.
 */

const stopMilliseconds = 30_000
const hostFileBytesMax = 4096

const { values, positionals } = parseArgs({ allowPositionals: true, options: hostUsage.options })
const command = roleCommand(hostUsage, values.help, positionals)
const home = new LocalHome(values.home ?? '.strongroom')
const log = createLog('host')
const product: Product = { directory: path.join(import.meta.dirname, '../..'), node: process.execPath }

const parseHostFile = fields('host file', {
  pid: is.integer(1),
  /** When that process began, as the kernel counts: another one may have the number by now. */
  started: is.string(20),
  api: is.string(200),
  tokenFile: is.string(4000),
})

await closeInherited()
switch (command) {
  case 'start':
    await start()
    break
  case 'run':
    process.exitCode = await run(positionals.slice(1))
    break
  case 'stop':
    await runCommand(values.json, stop)
    break
  case 'status':
    await runCommand(values.json, status)
    break
}

async function start(): Promise<void> {
  await home.requireMade()
  if ((await running()) !== null)
    throw new BaseError('FIELD_INVALID', `a host runs in ${home.directory} already`)
  const walls = await findWalls(product, log)
  const sealed = await openForService(log, path.join(home.home(dom0), 'sealed'), systemClock)

  const inventory = localInventory(home.machine)
  const never = new AbortController().signal
  const system = systemOf(await inventory.list(never))
  await makePrivateDirectory(home.runDirectory)
  const broker = createBroker({
    runDirectory: home.runDirectory,
    system: () => system,
    log: createLog('qrexec'),
  })
  broker.setPolicy(sealedPolicy(sealed.current().value))
  for (const vm of [dom0, ...Object.values(serviceVms)]) await broker.addVm(vm)

  const control = path.join(home.runDirectory, 'broker.sock')
  await makePrivateDirectory(home.machines)
  const listeners: Listener[] = [
    await serveControl({ path: control, broker, entropy: systemEntropy, log }),
    await serveSandboxes(
      path.join(home.run(dom0), 'sandboxes.sock'),
      localSandboxes({
        walls,
        product,
        command: [path.join(product.directory, 'src/main/sandbox.ts')],
        controlSocket: control,
        clock: systemClock,
        log,
      }),
      log,
    ),
    await serveSandboxes(
      path.join(home.run(dom0), 'drill-sandboxes.sock'),
      localVolumeSandboxes({
        walls,
        product,
        command: [path.join(product.directory, 'src/main/drill-sandbox.ts')],
        directory: home.drills,
        clock: systemClock,
        entropy: systemEntropy,
        log,
      }),
      log,
    ),
    await serveBoots(
      path.join(home.run(dom0), 'boots.sock'),
      localBootMachines({
        walls,
        clock: systemClock,
        entropy: systemEntropy,
        log,
        product,
        directory: home.machines,
        kernel: bootKernel(),
      }),
      home.drills,
      log,
    ),
  ]
  const supervisor = createSupervisor({
    vms: serviceProcesses(home, product),
    walls,
    product,
    logDirectory: home.logs,
    clock: systemClock,
    log,
  })
  await supervisor.start()
  const api = await openDoor({
    socket: path.join(home.run(serviceVms.management), 'api.sock'),
    portFile: home.portFile,
    asked: values.port,
    log,
  })
  const tokenFile = path.join(home.home(serviceVms.management), 'api-token')
  const started = await startOf(process.pid)
  const hostFile = { pid: process.pid, started, api: `http://127.0.0.1:${api.port}`, tokenFile }
  await writeDurably(home.hostFile, utf8(JSON.stringify(hostFile)))
  log.info('ready', { api: hostFile.api })
  onStop(log, async () => {
    await rm(home.hostFile, { force: true })
    api.close()
    await supervisor.stop()
    for (const listener of listeners) await listener.close()
    await broker.close()
  })
}

function bootKernel(): BootKernel | null {
  const [kernel, initramfs] = ['vmlinuz', 'initramfs.gz'].map(name => path.join(home.boot, name))
  if (kernel === undefined || initramfs === undefined) return null
  return existsSync(kernel) && existsSync(initramfs) ? { kernel, initramfs } : null
}

async function running(): Promise<ReturnType<typeof parseHostFile> | null> {
  const untrustedBytes = await readBounded(home.hostFile, hostFileBytesMax)
  if (untrustedBytes === null) return null
  const found = untrustedBytes.parse(bytes => parseHostFile(parseJson(bytes, { bytesMax: hostFileBytesMax })))
  return (await startOf(found.pid)) === found.started ? found : null
}

async function run(words: readonly string[]): Promise<number> {
  const { read = [], write = [] } = values
  return runInside({ home, walls: await findWalls(product, log), product, read, write }, words)
}

async function stop() {
  const host = await running()
  if (host === null) return { result: { stopped: false }, text: ['nothing runs'] }
  process.kill(host.pid, 'SIGTERM')
  const end = systemClock.monotonic() + stopMilliseconds
  while ((await running()) !== null) {
    if (systemClock.monotonic() > end) throw new BaseError('STREAM_ENDED', 'the host does not stop')
    await systemClock.sleep(100)
  }
  return { result: { stopped: true }, text: ['stopped'] }
}

async function status() {
  const host = await running()
  return { result: host, text: [host === null ? 'nothing runs' : `runs: ${host.api}, process ${host.pid}`] }
}
