import './failure.ts'
import { utf8 } from '../base/bytes.ts'
import { systemClock } from '../base/environment.ts'
import { parseJson } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import { StreamReader } from '../base/reader.ts'
import { proveLevels } from '../drill/inside/work.ts'
import { examinationTaskBytesMax, parseExaminationTask } from '../drill/protocol.ts'
import { sandboxMarker } from '../host/local/marker.ts'

/* A disposable: looks into restored volumes as it is told in one line, answers one line, and is destroyed. */

const log = createLog('drill-sandbox')
// It must never look into a volume anywhere else than behind walls.
if (process.env[sandboxMarker] === undefined) {
  log.error('not inside a sandbox; refusing to start')
  process.exit(3)
}

const line = await new StreamReader(process.stdin).until(0x0a, examinationTaskBytesMax)
const task = parseExaminationTask(parseJson(line, { bytesMax: examinationTaskBytesMax }))
// dom0 has gone.
process.stdin.once('end', () => process.exit(1))
const verdict = await proveLevels(task, { volumes: '/volumes', clock: systemClock, log })
process.stdout.write(utf8(`${JSON.stringify(verdict)}\n`), () => process.exit(0))
