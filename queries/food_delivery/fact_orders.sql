-- One row is an order in its newest status.
select
    order_id,
    customer_id,
    restaurant_id,
    rider_id,
    order_date,
    delivery_minutes,
    order_value,
    delivery_fee,
    tip_amount,
    cast(order_value + coalesce(delivery_fee, 0) + coalesce(tip_amount, 0) as decimal(12, 2)) as total_amount,
    case lower(trim(order_status))
        when 'placed' then 'Placed'
        when 'preparing' then 'Preparing'
        when 'processing' then 'Processing'
        when 'on the way' then 'On the way'
        when 'delivered' then 'Delivered'
        when 'cancelled' then 'Cancelled'
    end as order_status
from events
