import path from 'node:path'

/** Where a machine keeps its own copy of the sealed store: `<directory>/{store,pin.json,floor.json,counter.json}`. */
export function sealedPlace(directory: string) {
  const at = (name: string) => path.join(directory, name)
  return { store: at('store'), pin: at('pin.json'), floor: at('floor.json'), counterBase: at('counter.json') }
}
