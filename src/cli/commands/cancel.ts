import { parseJobId } from '../../base/names.ts'
import { hasEnded } from '../../qrexec/calls/orders.ts'
import { parseJobView } from '../answers.ts'
import { type AddCommand, act, describe } from './command.ts'

export const addCancel: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'cancel <job>',
    summary: 'cancel a job; nothing half-visible is left',
    examples: ['strongroom cancel 20261124T031500Z-1f2e3d4c'],
  }).action(
    act(io, async (session, _options, [id = '']) => {
      const job = await session.api.request('POST', `/v1/jobs/${parseJobId(id)}/cancel`, parseJobView)
      session.result('job', { job }, `${job.id} ${job.state}\n`)
      if (!hasEnded(job)) session.note(`it ends as soon as it can; follow it with: strongroom jobs ${job.id}`)
    }),
  )
  parent.addCommand(command)
}
