import { lstat } from 'node:fs/promises'
import path from 'node:path'
import { CodedError, errnoOf } from '../../base/errors.ts'
import { readBounded } from '../../base/files.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import { type VmName, volumeNamePattern } from '../../base/names.ts'
import { HostError } from '../errors.ts'

/*
 * A VM of the local host is a directory <root>/<vm>/ with vm.json:
 *   {"class":"AppVM","tags":["work"],"running":false,"includeInBackups":true,"volumes":{"private":"private.img"}}
 * A volume is a plain file in that directory.
 */

const vmFileBytesMax = 64 * 1024
const tagsMax = 256
const volumesMax = 16
const vmClasses = ['AppVM', 'TemplateVM', 'StandaloneVM', 'DispVM', 'AdminVM', 'RemoteVM'] as const

const plainName = (pattern: RegExp) => (untrustedText: string) => {
  if (!pattern.test(untrustedText))
    throw new HostError('VM_INVALID', `expected a name like ${pattern.source}`)
  return untrustedText
}
export const parseVolumeName = plainName(volumeNamePattern)
const parseTag = plainName(/^[A-Za-z0-9_-]{1,64}$/)
/** No slash and no leading dot: it cannot leave the directory, nor be one of our own working files. */
const parseFileName = plainName(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,100}$/)

const parseVmFile = fields('vm.json', {
  class: is.literal(...vmClasses),
  tags: is.array(is.name(parseTag), tagsMax),
  running: is.boolean,
  includeInBackups: is.boolean,
  volumes: is.record(is.name(parseFileName), parseVolumeName, volumesMax),
})
export type VmFile = ReturnType<typeof parseVmFile>

/** `null`: no such VM. Throws `VM_INVALID`. */
export async function readVmFile(root: string, vm: VmName): Promise<VmFile | null> {
  try {
    const untrusted = await readBounded(path.join(root, vm, 'vm.json'), vmFileBytesMax)
    return untrusted?.parse(bytes => parseVmFile(parseJson(bytes, { bytesMax: vmFileBytesMax }))) ?? null
  } catch (cause) {
    if (errnoOf(cause) === 'ENOTDIR') return null
    const why = cause instanceof CodedError ? cause.message : (errnoOf(cause) ?? 'unreadable')
    throw new HostError('VM_INVALID', `vm.json of ${vm}: ${why}`, { cause })
  }
}

export interface VolumeFile {
  readonly name: string
  readonly path: string
  /** Logical size. */
  readonly bytes: number
  /** Bytes in use on the disk. */
  readonly usage: number
}

/** The files of a VM's volumes, in the order of their names. Throws `VOLUME_MISSING`. */
export async function volumeFiles(root: string, vm: VmName, file: VmFile): Promise<readonly VolumeFile[]> {
  const names = Object.keys(file.volumes).sort()
  return Promise.all(
    names.map(async name => {
      const location = path.join(root, vm, file.volumes[name] ?? name)
      const found = await lstat(location).catch(cause => {
        throw new HostError('VOLUME_MISSING', `volume ${name} of ${vm} is not there`, { cause })
      })
      if (!found.isFile()) throw new HostError('VOLUME_MISSING', `volume ${name} of ${vm} is no plain file`)
      return { name, path: location, bytes: found.size, usage: Math.min(found.size, found.blocks * 512) }
    }),
  )
}
