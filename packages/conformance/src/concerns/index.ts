import type { Concern } from '../options.js'
import type { Test } from '../tools.js'
import { abort } from './abort.js'
import { attach } from './attach.js'
import { backendDown } from './backend-down.js'
import { bundle } from './bundle.js'
import { clone } from './clone.js'
import { close } from './close.js'
import { crash } from './crash.js'
import { create } from './create.js'
import { devices } from './devices.js'
import { events } from './events.js'
import { exec } from './exec.js'
import { execStreams } from './exec-streams.js'
import { exit } from './exit.js'
import { files } from './files.js'
import { hostile } from './hostile.js'
import { identity } from './identity.js'
import { images } from './images.js'
import { lifecycle } from './lifecycle.js'
import { limits } from './limits.js'
import { logs } from './logs.js'
import { manifest } from './manifest.js'
import { metrics } from './metrics.js'
import { migrate } from './migrate.js'
import { pause } from './pause.js'
import { ports } from './ports.js'
import { processes } from './processes.js'
import { rename } from './rename.js'
import { restart } from './restart.js'
import { snapshot } from './snapshot.js'
import { states } from './states.js'
import { streams } from './streams.js'
import { sweep } from './sweep.js'
import { unsupported } from './unsupported.js'
import { volumesNetworks } from './volumes-networks.js'
import { walk } from './walk.js'

export const suites: Readonly<Record<Concern, (test: Test) => void>> = {
  manifest,
  create,
  lifecycle,
  states,
  identity,
  exit,
  logs,
  exec,
  files,
  'exec-streams': execStreams,
  metrics,
  events,
  pause,
  limits,
  rename,
  abort,
  streams,
  unsupported,
  hostile,
  walk,
  'backend-down': backendDown,
  sweep,
  close,
  crash,
  processes,
  ports,
  restart,
  attach,
  'volumes-networks': volumesNetworks,
  devices,
  snapshot,
  clone,
  migrate,
  bundle,
  images,
}
