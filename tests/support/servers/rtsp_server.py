"""An RTSP server on GStreamer, for the system's own Python.

rtsp_server.py PORT WIDTH HEIGHT BREAK CODEC serves rtsp://127.0.0.1:PORT/live.

Its images carry their number in 32 stripes of black and white along the top edge. The number is
that of the monotonic clock, which all processes of a machine share: frame n was made at n / FPS.
Below, a bright square stands on grey. BREAK is the share of the encoder's bytes that are damaged,
CODEC is h264 or jpeg.
"""

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

FPS = 30
BITS = 32
CODECS = {
    "h264": (
        "x264enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max=15",
        "rtph264pay name=pay0 pt=96 config-interval=1",
    ),
    "jpeg": ("jpegenc", "rtpjpegpay name=pay0 pt=26"),
}


def make_image(number, width, height):
    """(height * width) bytes of grey."""
    side = width // BITS
    stripes = b"".join(
        bytes([235 if number >> bit & 1 else 16]) * side for bit in range(BITS)
    ).ljust(width, b"\x10")
    empty = b"\x60" * width
    left, size = width // 4, width // 4
    square = b"\x60" * left + b"\xeb" * size + b"\x60" * (width - left - size)
    top = height // 6
    rows = [stripes] * top + [empty] * (height // 3 - top) + [square] * (height // 3)
    return b"".join(rows).ljust(width * height, b"\x60")


def push(source, width, height):
    """Gives the present image, FPS times a second, until nobody takes it."""
    while True:
        number = int(time.monotonic() * FPS) + 1
        time.sleep(max(0.0, number / FPS - time.monotonic()))
        buffer = Gst.Buffer.new_wrapped(make_image(number, width, height))
        if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
            return


def main():
    """Serves rtsp://127.0.0.1:PORT/live; says so on standard output."""
    port, width, height, damage, codec = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_shared(True)
    encoder, payloader = CODECS[codec]
    broken = f"! breakmydata probability={damage} " if float(damage) else ""
    factory.set_launch(
        "( appsrc name=images is-live=true do-timestamp=true format=time block=true "
        f"caps=video/x-raw,format=GRAY8,width={width},height={height},framerate={FPS}/1 "
        "! videoconvert ! video/x-raw,format=I420 "
        f"! {encoder} {broken}! {payloader} )"
    )

    def configure(_, media):
        source = media.get_element().get_by_name("images")
        arguments = (source, int(width), int(height))
        threading.Thread(target=push, args=arguments, daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("serving", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
