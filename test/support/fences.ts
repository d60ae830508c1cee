import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** Path from the root of the repository, with `/`, to text. */
export type Tree = ReadonlyMap<string, string>

export function readTree(root: string, folder: string): Tree {
  const tree = new Map<string, string>()
  for (const entry of readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
    const file = path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/')
    tree.set(file, readFileSync(path.join(root, file), 'utf8'))
  }
  return tree
}

export interface Import {
  readonly from: string
  /** A file of the tree, `node:…`, or the name of a package. */
  readonly to: string
}

const statement = /(?:^|[\n;}])\s*(?:import|export)\b(?:[^'"`;]*?\bfrom\b)?\s*(['"])([^'"\n]+)\1/g
const literalCall = /\bimport\s*\(\s*(['"])([^'"\n]+)\1\s*[,)]/g
const workerCall = /new\s+(?:Worker|URL)\s*\(\s*(?:new\s+URL\s*\(\s*)?(['"])([^'"\n]+\.ts)\1/g

/** Every import of every file, by statement, by literal `import()`, and by the URL of a worker. */
export function importsOf(tree: Tree): Import[] {
  const imports: Import[] = []
  for (const [from, text] of tree) {
    const code = withoutComments(text)
    for (const pattern of [statement, literalCall, workerCall])
      for (const match of code.matchAll(pattern)) imports.push({ from, to: resolve(from, match[2] ?? '') })
  }
  return imports
}

function resolve(from: string, specifier: string): string {
  if (specifier.startsWith('.')) return path.posix.join(path.posix.dirname(from), specifier)
  if (specifier.startsWith('node:')) return specifier
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? specifier)
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1')
}

/** Ways to load code that no list of imports shows. */
const sideDoors: readonly (readonly [RegExp, string])[] = [
  [/\bimport\s*\(\s*(?!['"])/, 'computed import()'],
  [/\bcreateRequire\b/, 'createRequire'],
  [/(^|[^#.\w])require\s*\(/m, 'require()'],
  [/\bprocess\s*\.\s*(?:binding|dlopen|getBuiltinModule)\b/, 'process.binding, dlopen or getBuiltinModule'],
  [/\beval\s*\(|\bnew\s+Function\s*\(/, 'eval or new Function'],
  [/from\s+['"]node:(?:module|vm|repl|inspector)['"]/, 'node:module, node:vm, node:repl or node:inspector'],
]

export function sideDoorsOf(tree: Tree): string[] {
  const found: string[] = []
  for (const [file, text] of tree)
    for (const [pattern, name] of sideDoors)
      if (pattern.test(withoutComments(text))) found.push(`${file}: ${name}`)
  return found
}

/** Row of each folder of `src`; a folder imports only from rows below its own. */
export const rows: Readonly<Record<string, number>> = {
  base: 0,
  crypto: 1,
  profiles: 1,
  qrexec: 1,
  tpm: 1,
  usage: 1,
  sealing: 2,
  ledger: 2,
  storage: 2,
  host: 2,
  repository: 3,
  hsm: 3,
  drill: 3,
  engine: 4,
  restore: 4,
  report: 4,
  api: 4,
  cli: 5,
  main: 6,
}

export function folderOf(file: string): string {
  return file.split('/')[1] ?? ''
}

/** Imports that go up or sideways, and files in folders that have no row. */
export function wrongDirections(tree: Tree): string[] {
  const wrong: string[] = []
  for (const file of tree.keys())
    if (rows[folderOf(file)] === undefined) wrong.push(`${file}: a folder without a row`)
  for (const { from, to } of importsOf(tree)) {
    if (!to.startsWith('src/')) continue
    const [source, target] = [folderOf(from), folderOf(to)]
    if (source !== target && (rows[source] ?? -1) <= (rows[target] ?? 99)) wrong.push(`${from} -> ${to}`)
  }
  return wrong
}

/** Cycles of imports inside one folder, each as its path. */
export function cyclesOf(tree: Tree): string[] {
  const edges = new Map<string, string[]>()
  for (const { from, to } of importsOf(tree))
    if (tree.has(to)) edges.set(from, [...(edges.get(from) ?? []), to])
  const cycles: string[] = []
  const state = new Map<string, 'open' | 'closed'>()
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === 'closed') return
    if (state.get(file) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '))
      return
    }
    state.set(file, 'open')
    for (const next of edges.get(file) ?? []) visit(next, [...trail, file])
    state.set(file, 'closed')
  }
  for (const file of tree.keys()) visit(file, [])
  return cycles
}

export interface ProcessList {
  readonly name: string
  readonly entry: string
  readonly include: readonly string[]
  readonly packages: readonly string[]
  readonly builtins: readonly string[]
}

export function readProcesses(root: string): ProcessList[] {
  return readdirSync(path.join(root, 'processes'))
    .filter(file => file.endsWith('.json'))
    .map(file => {
      const text = JSON.parse(readFileSync(path.join(root, 'processes', file), 'utf8')) as {
        include: string[]
        strongroom: { entry: string; packages: string[]; builtins: string[] }
      }
      const { entry, packages, builtins } = text.strongroom
      const include = text.include.map(one => path.posix.join('processes', one))
      return { name: file.replace('.json', ''), entry, include, packages, builtins }
    })
}

function isListed(file: string, list: ProcessList): boolean {
  return list.include.some(one => (one.endsWith('.ts') ? one === file : file.startsWith(`${one}/`)))
}

/** The files of a process, found from its entry through all imports. */
function reachedBy(tree: Tree, { entry }: ProcessList): ReadonlySet<string> {
  const imports = Map.groupBy(importsOf(tree), ({ from }) => from)
  const reached = new Set<string>([entry])
  for (const file of reached)
    for (const { to } of imports.get(file) ?? []) if (to.startsWith('src/')) reached.add(to)
  return reached
}

/** The files of a process that import `module`, in order of their names. */
export function loadersOf(tree: Tree, list: ProcessList, module: string): string[] {
  const reached = reachedBy(tree, list)
  const loaders = importsOf(tree).filter(({ from, to }) => to === module && reached.has(from))
  return [...new Set(loaders.map(({ from }) => from))].sort()
}

/** Files, packages and built-in modules that a process reaches from its entry and that its list does not name. */
export function breachesOf(tree: Tree, list: ProcessList): string[] {
  const imports = Map.groupBy(importsOf(tree), ({ from }) => from)
  const breaches: string[] = []
  for (const file of reachedBy(tree, list)) {
    if (!tree.has(file)) breaches.push(`${list.name}: ${file} does not exist`)
    if (!isListed(file, list)) breaches.push(`${list.name}: ${file} is not listed`)
    for (const { from, to } of imports.get(file) ?? []) {
      if (to.startsWith('src/')) continue
      if (to.startsWith('node:')) {
        if (!list.builtins.includes(to)) breaches.push(`${list.name}: ${from} loads ${to}`)
      } else if (!list.packages.includes(to)) breaches.push(`${list.name}: ${from} loads the package ${to}`)
    }
  }
  return breaches
}
