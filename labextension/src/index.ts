/** jupyterlab-kf: the list of its plugins. */

import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { cells } from './plugins/cells';
import { commands } from './plugins/commands';
import { core } from './plugins/core';
import { endpoints } from './plugins/endpoints';
import { kernels } from './plugins/kernels';
import { launches } from './plugins/launches';
import { notices, panel, running, status } from './plugins/places';
import { studies } from './plugins/studies';

export * from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [core, commands, launches, studies, endpoints, panel, cells, running, status, notices, kernels];

export default plugins;
