/** An endpoint in the main area. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import * as React from 'react';

import { EndpointPage } from '../components/endpoint';
import { kubeflowIcon } from '../icons';
import type { IKubeflow } from '../tokens';
import type { EndpointKey } from '../wire';
import { widgetOf } from './side';

export class EndpointPanel extends MainAreaWidget {
  constructor(
    kf: IKubeflow,
    readonly key: EndpointKey
  ) {
    super({ content: widgetOf(kf, <EndpointPage endpoint={key} />), translator: kf.translator });
    this.id = endpointPanelId(key);
    this.title.label = key.name;
    this.title.caption = kf.trans.__('Endpoint %1/%2', key.namespace, key.name);
    this.title.icon = kubeflowIcon;
    this.title.closable = true;
    this.toolbar.hide();
    this.addClass('kfx-Main');
  }
}

export function endpointPanelId(key: EndpointKey): string {
  return `kf-endpoint-${key.namespace}-${key.name}`;
}
